"""Progress of long loops: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def progress(iterable: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    """Yield the items of `iterable` and show on stderr how far it got.

    On a terminal this is a tqdm bar; otherwise (logs, batch jobs) one plain line about every ten seconds and one at the
    end, without control characters.

    Args:
        iterable: What is iterated over.
        total: Number of items, for the percentage; None if it is not known.
        description: What is being done, in a few words.

    Yields:
        The items, unchanged.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(iterable, total=total, desc=description, file=sys.stderr)
        return
    start = last = time.monotonic()
    count = 0
    for count, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            _line(description, count, total, now - start)
    _line(description, count, total, time.monotonic() - start)


def _line(description: str, count: int, total: int | None, seconds: float) -> None:
    whole = "" if total is None else f" of {total}"
    share = f" ({100 * count / total:.0f} %)" if total else ""
    print(f"{description}: {count}{whole}{share}, {seconds:.0f} s", file=sys.stderr, flush=True)
