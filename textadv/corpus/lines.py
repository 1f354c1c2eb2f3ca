"""The lines of text files, packed by gzip or not, of which no one can fill the memory."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from textadv.corpus.rows import refuse
from textadv.errors import InputError, reason_of

GZIP = ".gz"
MAX_LINE_BYTES = 2**26  # of text: a book has about a fiftieth of it
# Text is packed to between a third and a tenth of its size. What is far beyond is made to fill a disk.
MAX_UNPACKED_RATIO, MIN_UNPACKED_BYTES = 200, 2**26


def ending(path: Path) -> str:
    """What kind of file this is by its name, in lower case: `.csv` of `a.csv` and of `a.CSV.gz`."""
    packed = path.suffix.lower() == GZIP
    return (path.with_suffix("") if packed else path).suffix.lower()


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (a byte order mark may lead), each decoded by itself to know its number.

    Args:
        path: The file; with the ending `.gz` it is unpacked on the way.

    Raises:
        InputError: A line is no text, or longer than `MAX_LINE_BYTES`, or the file is damaged.
    """
    with _opened(path) as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{path}, line {number}: has more than {MAX_LINE_BYTES} bytes")
            encoding = "utf-8-sig" if number == 1 else "utf-8"
            if b"\0" in line:
                refuse("encoding", f"{path}, line {number}: holds a NUL byte")
                yield line.replace(b"\0", b"").decode(encoding, "ignore")
                continue
            try:
                text = line.decode(encoding)
            except UnicodeDecodeError as error:
                refuse("encoding", f"{path}, line {number}: not valid UTF-8 ({reason_of(error)})")
                text = line.decode(encoding, "ignore")
            yield text


@contextmanager
def _opened(path: Path) -> Iterator["BinaryIO | _Unpacked"]:
    if path.suffix.lower() != GZIP:
        with path.open("rb") as file:
            yield file
        return
    try:
        with gzip.open(path) as packed:
            yield _Unpacked(packed, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as gzip ({reason_of(error)})") from error


class _Unpacked:
    """A file packed by gzip, as far as it is not far larger than text can be."""

    def __init__(self, file: gzip.GzipFile, path: Path) -> None:
        self._file, self._path = file, path
        self._most = max(MAX_UNPACKED_RATIO * path.stat().st_size, MIN_UNPACKED_BYTES)

    def readline(self, size: int) -> bytes:
        line = self._file.readline(size)
        if self._file.tell() > self._most:
            raise InputError(f"{self._path}: unpacks to more than {MAX_UNPACKED_RATIO} times its size")
        return line
