"""Texts to classify: from a file or from standard input."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from textadv.corpus.files import read_file
from textadv.corpus.rows import passing_over
from textadv.errors import InputError

STDIN = "-"
ENDINGS = (".txt", ".csv", ".jsonl", ".parquet")


def read_texts(path: str, text_column: str) -> Iterator[str]:
    """Read texts to classify.

    Standard input and `.txt` files have one text per line and are read as the texts are asked for. CSV, JSONL and
    parquet are read like training files, as a whole. But a line or row without text is an empty text, so that text n of
    the input has prediction n.

    Args:
        path: A `.txt`, `.csv`, `.jsonl` or `.parquet` file, or `-` for standard input.
        text_column: Name of the text column (CSV, parquet) or field (JSONL).

    Raises:
        InputError: The file cannot be read, has no such column, or has a row that is not as it should be. What is
            wrong with a line of text is found when that line is asked for.
    """
    if path == STDIN:
        return _lines(None)
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: no such file")
    if file.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: unknown ending '{file.suffix}'; give one of {', '.join(ENDINGS)}")
    if file.suffix.lower() == ".txt":
        return _lines(file)
    try:
        with passing_over("empty"):
            return iter(read_file(file, text_column, None).texts)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _lines(file: Path | None) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (None: standard input), each decoded by itself to know its number."""
    name, number = "standard input" if file is None else str(file), 0
    try:
        # Standard input is not ours to close.
        with nullcontext(sys.stdin.buffer) if file is None else file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if b"\0" in line:
                    raise InputError(f"{name}, line {number}: holds a NUL byte")
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}, line {number}: not valid UTF-8 ({error.reason})") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from error
