"""Locks between processes: what several of them want is made by one."""

import sys
from pathlib import Path
from typing import IO

from textadv.errors import InputError

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]


def can_lock() -> bool:
    """Whether this system has locks at all."""
    return fcntl is not None


def lock(path: Path, work: str, wait: bool = True) -> IO[bytes]:
    """Wait until nobody else holds a lock; closing what is returned lets the next one in.

    The kernel does that for a process that dies, so that no lock outlives its holder. Where a file cannot be locked
    nobody waits.

    Args:
        path: A file that stands for what is made.
        work: What the holder does, for the message of those who wait, as in "prepares the same corpus".
        wait: False: refuse instead.

    Returns:
        An open file.

    Raises:
        InputError: Another process holds the lock, and `wait` is False.
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    if fcntl is None:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            file.close()
            raise InputError(f"another process {work}: wait until it has ended") from None
        print(f"waiting for another process that {work}", file=sys.stderr)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        pass
    return file
