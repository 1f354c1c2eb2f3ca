"""The exceptions that a user meets as a single line: wrong input, a process that is gone, a stop by a signal."""

import re
import signal
from pathlib import Path

NO_MEMORY = re.compile(  # the last two are of torch, asked for more than any machine has
    "can't allocate memory|not enough memory|Storage size calculation overflowed|Overflow when unpacking long"
)


class InputError(Exception):
    """Wrong input from the user: a file, a row, a flag or a checkpoint.

    The message is one line that names the culprit. The command line prints it and exits with 2.
    """


class ArgumentError(InputError, ValueError):
    """Wrong input to a function of Python: a `ValueError`, too, as Python and scikit-learn have it."""


def missing_package(culprit: str, package: str, extra: str) -> InputError:
    """What to tell where a package is not installed that an extra brings along; textadv itself is on no index.

    Args:
        culprit: The flag or command that needs it.
        package: Its name.
        extra: The extra, a name in `pyproject.toml`.
    """
    return InputError(
        f'{culprit}: the package {package} is missing; in a checkout of textadv, `pip install -e ".[{extra}]"` brings '
        f"it; elsewhere, install the file of the wheel again, with [{extra}] behind its name"
    )


class ProcessLostError(Exception):
    """Another process of the same run is gone, and with it the run. The command line prints it and exits with 1."""


def one_line(message: str) -> str:
    """Write what cannot be printed, line ends and a terminal's control sequences above all, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def reason_of(error: BaseException) -> str:
    """What an error of a library says, on one line, at most 200 characters."""
    return " ".join(str(error).split())[:200]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out: Python and NumPy, torch on a GPU, and torch on a CPU, which says it in words only."""
    by_words = isinstance(error, RuntimeError | TypeError) and NO_MEMORY.search(str(error))
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or bool(by_words)


def refusal(error: Exception) -> str | None:
    """What to say of wrong input, and of what the system refuses: files and memory. None for a fault of the program."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"out of memory ({reason_of(error)})" if is_out_of_memory(error) else None


class Stopped(SystemExit):
    """Training has stopped in good order because of a signal.

    Args:
        signum: Which.
        step: Number of steps done.
        checkpoint: Where to go on from; None where there is nothing yet.
    """

    def __init__(self, signum: signal.Signals, step: int, checkpoint: Path | None) -> None:
        super().__init__(128 + signum)
        self.signum = signum
        self.step = step
        self.checkpoint = checkpoint
        self.told = False  # the user knows

    def __str__(self) -> str:
        where = "nothing is saved yet" if self.checkpoint is None else f"saved in {self.checkpoint}"
        return f"stopped by {self.signum.name} after step {self.step}, {where}"
