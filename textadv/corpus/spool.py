"""Work on disk for what does not fit into memory: a list of values, and a list in order.

The files have no name where the system allows that, so that nothing is left of a process that is killed.
"""

import heapq
import marshal
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, TypeVar

from textadv.errors import InputError

MEMORY_BYTES = 2**24  # of a spool: what is smaller is not written to disk
RUN_BYTES = 2**26  # of rows in memory, before they are sorted and written to disk
BLOCK_BYTES = 2**18  # of rows that are read from disk at once, from each run
MOST_RUNS = 128  # merged at once: each has an open file and a block in memory
SIZE_BYTES = 8

Row = tuple[Any, ...]
T = TypeVar("T")


def batches(items: Iterable[T], size: Callable[[T], int], enough: int) -> Iterator[list[T]]:
    """Cut a stream into lists, each of which ends where the sizes of its items add up to `enough`."""
    batch: list[T] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= enough:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


class Spool:
    """Values in the order in which they were added, on disk if they are many.

    A value is whatever `marshal` writes: numbers, strings, bytes, and tuples and lists of these.
    """

    def __init__(self, folder: Path | None, memory: int = MEMORY_BYTES) -> None:
        """Begin an empty one.

        Args:
            folder: Where it lies; None for the system's folder of temporary files.
            memory: Bytes beyond which it lies on disk.
        """
        self._place = "temporary files" if folder is None else str(folder)
        self._file = SpooledTemporaryFile(max_size=memory, dir=None if folder is None else str(folder))  # noqa: SIM115
        weakref.finalize(self, self._file.close)  # it lives as long as the spool

    def append(self, value: Any) -> None:
        """Add a value.

        Raises:
            InputError: The disk is full.
        """
        content = marshal.dumps(value)
        try:
            self._file.seek(0, 2)
            self._file.write(len(content).to_bytes(SIZE_BYTES, "little") + content)
            self._file.flush()
        except OSError as error:
            raise InputError(f"{self._place}: cannot write: {error.strerror or error}") from error

    def __iter__(self) -> Iterator[Any]:
        """Read all values again."""
        place = 0
        while True:
            self._file.seek(place)
            size = int.from_bytes(self._file.read(SIZE_BYTES), "little")
            if not size:
                return
            value = marshal.loads(self._file.read(size))
            place = self._file.tell()
            yield value


class SortedRows:
    """Rows in order, however many: sorted in memory by parts, written to disk, and merged when they are read."""

    def __init__(self, folder: Path | None, size: Callable[[Row], int]) -> None:
        """Begin with none.

        Args:
            folder: Where the parts lie; None for the system's folder of temporary files.
            size: Bytes of a row in memory.
        """
        self._folder = folder
        self._size = size
        self._rows: list[Row] = []
        self._bytes = 0
        self._levels: list[list[Spool]] = [[]]  # runs of a level are merged parts of the level below
        self._count = 0

    def add(self, row: Row) -> None:
        """Add a row; not after the first reading.

        Raises:
            InputError: The disk is full.
        """
        self._rows.append(row)
        self._count += 1
        self._bytes += self._size(row)
        if self._bytes > RUN_BYTES:
            self._keep(0, sorted(self._rows))
            self._rows, self._bytes = [], 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        """Read all rows in order; as often as one likes."""
        self._rows.sort()
        return heapq.merge(*map(chain.from_iterable, chain.from_iterable(self._levels)), self._rows)

    def _keep(self, level: int, rows: Iterable[Row]) -> None:
        """Write a run; so many of them become one of the next level."""
        if level == len(self._levels):
            self._levels.append([])
        runs = self._levels[level]
        runs.append(self._written(rows))
        if len(runs) == MOST_RUNS:
            self._levels[level] = []
            self._keep(level + 1, heapq.merge(*map(chain.from_iterable, runs)))

    def _written(self, rows: Iterable[Row]) -> Spool:
        run = Spool(self._folder, memory=1)
        for block in batches(rows, self._size, BLOCK_BYTES):
            run.append(block)
        return run


def text_bytes(row: Row) -> int:
    """Bytes in memory of a row whose first value is a string, which has most of them."""
    return sys.getsizeof(row[0]) + 200
