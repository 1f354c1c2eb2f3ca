"""Locks between processes: what several of them want is made by one."""

import sys
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from textadv.errors import InputError


def lock(path: Path, work: str, wait: bool = True) -> IO[bytes] | None:
    """Wait until nobody else holds a lock; closing what is returned lets the next one in.

    The kernel does that for a process that dies, so that no lock outlives its holder. That is why this is the lock of
    an open file: where a file cannot be locked, `filelock.FileLock` takes a file that is there for a lock, and that
    outlives its holder. Here nobody waits then.

    Args:
        path: A file that stands for what is made.
        work: What the holder does, for the message of those who wait, as in "prepares the same corpus".
        wait: False: refuse instead.

    Returns:
        An open file; None where it cannot be locked.

    Raises:
        InputError: Another process holds the lock, and `wait` is False.
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        is_free = lock_descriptor(file.fileno(), blocking=False)
    except OSError:
        file.close()
        return None
    if not is_free:
        if not wait:
            file.close()
            raise InputError(f"another process {work}: wait until it has ended")
        print(f"waiting for another process that {work}", file=sys.stderr)
        lock_descriptor(file.fileno())
    return file
