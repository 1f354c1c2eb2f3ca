"""CSV, JSONL and parquet files with any column names, read so that every complaint names file, row and column.

CSV and JSONL are read by Python's own modules: `datasets` takes the CSV texts `NA`, `null` and the empty one for
missing values and reports a bad file without its row. Here `NA` and `null` are ordinary strings.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textadv.corpus.rows import NamedRows, checked_text, class_name, passing_over, refuse
from textadv.errors import InputError
from textadv.system.progress import progress

if TYPE_CHECKING:  # imported where it is used: training from a prepared store does not need it
    import pyarrow as pa

FIELD_LIMIT = 2**31 - 1
COLUMNS_SHOWN = 20


def read_file(path: Path, text_column: str, label_column: str | None) -> NamedRows:
    """Read one file by its ending.

    A label that is empty or null means: this row is unlabeled. In parquet -1 means the same, as on the Hub; in CSV
    and JSONL -1 is a class like any other.

    Args:
        path: A `.csv`, `.jsonl` or `.parquet` file.
        text_column: Name of the text column.
        label_column: Name of the label column; None to read no labels.

    Returns:
        The rows, at least one.

    Raises:
        InputError: If the file or one of its rows is not as it should be.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown ending '{path.suffix}'; give a .csv, .jsonl or .parquet file")
    rows = reader(path, text_column, label_column)
    if not rows.texts:
        raise InputError(f"{path}: holds no rows")
    return rows


def read_parquet(path: Path, text_column: str, label_column: str | None) -> NamedRows:
    """Read one parquet file, which may have no rows.

    Args:
        path: The file.
        text_column: Name of the text column.
        label_column: Name of the label column; None to read no labels.

    Returns:
        The rows.

    Raises:
        InputError: If the file is damaged or one of its rows is not as it should be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [text_column] if label_column is None else [text_column, label_column]
    try:
        with pq.ParquetFile(path) as file:
            _require(columns, file.schema_arrow.names, str(path))
            table = file.read(columns=columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last for names of columns
        raise InputError(f"{path}: cannot be read as parquet ({_one_line(error)})") from error
    return table_rows(table, str(path), text_column, label_column)


def table_rows(table: "pa.Table", file: str, text_column: str, label_column: str | None) -> NamedRows:
    """Take the rows out of an Arrow table.

    Args:
        table: The table; its Hugging Face metadata, where present, names the classes.
        file: What to call it in messages.
        text_column: Name of the text column.
        label_column: Name of the label column; None to read no labels.

    Returns:
        The rows.

    Raises:
        InputError: If a column is missing or a row is not as it should be.
    """
    _require([text_column] if label_column is None else [text_column, label_column], table.column_names, file)
    declared = _declared_classes(table.schema, label_column)
    values = _values(table, file, text_column)
    labels = [None] * len(values) if label_column is None else _values(table, file, label_column)
    numbers = range(1, len(values) + 1)
    texts = [checked_text(value, f"{file}, row {n}", text_column) for n, value in zip(numbers, values, strict=True)]
    names = [
        _declared_name(value, declared, f"{file}, row {n}", str(label_column))
        for n, value in zip(numbers, labels, strict=True)
    ]
    return NamedRows(texts, names, file, "row", numbers, declared)


def sample_columns(path: Path, limit: int) -> dict[str, list[Any]]:
    """Read the first rows of a file, to guess what its columns are for.

    Args:
        path: A `.csv`, `.jsonl` or `.parquet` file.
        limit: Number of rows at most.

    Returns:
        Values by name of column, as the file holds them; None where a JSON object has no such key. Empty for a file of
        another kind, or one that cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        with suppress(pa.ArrowException, OSError, ValueError), pq.ParquetFile(path) as file:
            return dict(next(file.iter_batches(limit)).to_pydict())
        return {}
    with suppress(InputError, OSError), passing_over():
        if path.suffix.lower() == ".csv":
            rows = [row for _, row in islice(_csv_rows(csv.reader(_lines(path)), path), limit + 1)]
            header = enumerate(rows[0] if rows else ())
            return {name: [row[i] for row in rows[1:] if i < len(row)] for i, name in header}
        if path.suffix.lower() == ".jsonl":
            records = list(filter(None, map(_record, islice(_lines(path), limit))))
            return {name: [one.get(name) for one in records] for name in dict.fromkeys(chain.from_iterable(records))}
    return {}


def _record(line: str) -> dict[str, Any]:
    """The JSON object in a line; empty where there is none."""
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        return record if isinstance(record, dict) else {}
    return {}


def _values(table: "pa.Table", file: str, column: str) -> list[Any]:
    import pyarrow as pa

    try:
        values: list[Any] = table[column].to_pylist()
    except (ValueError, OverflowError, pa.ArrowException) as error:  # bytes that are no text, times beyond all dates
        raise InputError(f"{file}: column '{column}' cannot be read ({_one_line(error)})") from error
    return values


def _declared_classes(schema: "pa.Schema", label_column: str | None) -> tuple[str, ...]:
    """Class names that `datasets` keeps in the schema's metadata, in the order of their integers."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        feature = features[label_column]
        return tuple(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else ()
    except (KeyError, TypeError, ValueError):
        return ()


def _declared_name(value: object, declared: Sequence[str], place: str, column: str) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        if value == -1:
            return None
        if declared:
            if not 0 <= value < len(declared):
                refuse("label", f"{place}: column '{column}' holds {value}, but there are {len(declared)} classes")
                return None
            value = declared[value]
    return class_name(value, place, column)


def _read_csv(path: Path, text_column: str, label_column: str | None) -> NamedRows:
    csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader(progress(_lines(path), None, f"reading {path}"), strict=True)
    rows = _csv_rows(reader, path)
    header = next(rows, (1, []))[1]
    columns = [text_column] if label_column is None else [text_column, label_column]
    _require(columns, header, str(path))
    for column in columns:
        if header.count(column) > 1:
            raise InputError(f"{path}: column '{column}' stands twice in the header")
    texts, names, numbers = [], [], []
    for number, fields in rows:
        place = f"{path}, line {number}"
        if len(fields) != len(header):
            refuse("row", f"{place}: {len(fields)} fields, but the header has {len(header)}")
            continue
        texts.append(checked_text(fields[header.index(text_column)], place, text_column))
        names.append(class_name(fields[header.index(label_column)], place, label_column) if label_column else None)
        numbers.append(number)
    return NamedRows(texts, names, str(path), "line", numbers)


def _csv_rows(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that a row begins on and its fields; blank lines are passed over."""
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = "unclosed quote" if "unexpected end of data" in str(error) else str(error)
            raise InputError(f"{path}, line {number}: not valid CSV ({reason})") from None
        if fields:
            yield number, fields


def _read_jsonl(path: Path, text_column: str, label_column: str | None) -> NamedRows:
    texts, names, numbers = [], [], []
    for number, line in enumerate(progress(_lines(path), None, f"reading {path}"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            refuse("row", f"{place}: not valid JSON ({_one_line(error)})")
            continue
        if not isinstance(record, dict):
            refuse("row", f"{place}: not a JSON object")
            continue
        columns = [text_column] if label_column is None else [text_column, label_column]
        if message := _missing(columns, list(record), place):
            refuse("row", message)
            continue
        texts.append(checked_text(record[text_column], place, text_column))
        names.append(class_name(record[label_column], place, label_column) if label_column else None)
        numbers.append(number)
    return NamedRows(texts, names, str(path), "line", numbers)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (a byte order mark may lead), each decoded by itself to know its number."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            encoding = "utf-8-sig" if number == 1 else "utf-8"
            if b"\0" in line:
                refuse("encoding", f"{path}, line {number}: holds a NUL byte")
                yield line.replace(b"\0", b"").decode(encoding, "ignore")
                continue
            try:
                text = line.decode(encoding)
            except UnicodeDecodeError as error:
                refuse("encoding", f"{path}, line {number}: not valid UTF-8 ({_one_line(error)})")
                text = line.decode(encoding, "ignore")
            yield text


def _require(columns: Sequence[str], present: Sequence[str], place: str) -> None:
    if message := _missing(columns, present, place):
        raise InputError(message)


def _missing(columns: Sequence[str], present: Sequence[str], place: str) -> str | None:
    """What to say where a column is missing; None where none is."""
    for column in columns:
        if column not in present:
            shown = ", ".join(f"{name!r:.60}" for name in present[:COLUMNS_SHOWN]) or "none"
            more = ", ..." if len(present) > COLUMNS_SHOWN else ""
            return f"{place}: no column '{column}'; it has {shown}{more}"
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
