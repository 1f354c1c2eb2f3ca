"""CSV, JSONL and parquet files with any column names, read so that every complaint names file, row and column.

CSV and JSONL are read by Python's own modules: `datasets` takes the CSV texts `NA`, `null` and the empty one for
missing values and reports a bad file without its row. Here `NA` and `null` are ordinary strings.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textadv.corpus.lines import MAX_LINE_BYTES, ending, read_lines
from textadv.corpus.rows import NamedRow, NamedRows, RowStream, checked_text, class_name, passing_over, refuse
from textadv.errors import InputError, reason_of
from textadv.system.progress import progress

if TYPE_CHECKING:  # imported where it is used: training from a prepared store does not need it
    import pyarrow as pa

BATCH_ROWS = 1000  # of an Arrow table, in memory at once
COLUMNS_SHOWN = 20
COLUMN_FLAGS = ("--data.text_column", "--data.label_column")


def read_file(path: Path, text_column: str, label_column: str | None) -> NamedRows:
    """Read one file by its ending, as `open_file` does, into memory."""
    return open_file(path, text_column, label_column).read()


def open_file(path: Path, text_column: str, label_column: str | None) -> RowStream:
    """Open one file by its ending, to be read row by row.

    A label that is empty or null means: this row is unlabeled. In parquet -1 means the same, as on the Hub; in CSV
    and JSONL -1 is a class like any other.

    Args:
        path: A `.csv`, `.jsonl` or `.parquet` file; CSV and JSONL may be packed, as in `.csv.gz`.
        text_column: Name of the text column.
        label_column: Name of the label column; None to read no labels.

    Returns:
        The rows, at least one.

    Raises:
        InputError: If the file is not as it should be; while the rows are read, if one of them is not, or there are
            none.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl}
    kind = ending(path)
    if kind in readers:
        stream = RowStream(readers[kind](path, text_column, label_column), str(path), "line")
    elif path.suffix.lower() == ".parquet":
        stream = open_parquet(path, text_column, label_column)
    else:
        endings = ".csv, .jsonl or .parquet file, or a .csv.gz or .jsonl.gz one"
        raise InputError(f"{path}: unknown ending '{path.suffix}'; give a {endings}")
    return replace(stream, rows=_at_least_one(stream))


def _at_least_one(stream: RowStream) -> Iterator[NamedRow]:
    row = None
    for row in stream:
        yield row
    if row is None:
        raise InputError(f"{stream.file}: holds no rows")


def open_parquet(path: Path, text_column: str, label_column: str | None) -> RowStream:
    """Open one parquet file, which may have no rows.

    Args:
        path: The file.
        text_column: Name of the text column.
        label_column: Name of the label column; None to read no labels.

    Returns:
        The rows.

    Raises:
        InputError: If the file is damaged; while the rows are read, if one of them is not as it should be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [text_column] if label_column is None else [text_column, label_column]

    def batches() -> Iterator[pa.RecordBatch]:
        with _as_parquet(path), pq.ParquetFile(path) as file:
            yield from progress(
                file.iter_batches(BATCH_ROWS, columns=columns),
                -(-file.metadata.num_rows // BATCH_ROWS),
                f"reading {path}",
            )

    with _as_parquet(path):
        schema = pq.read_schema(path)
        require_columns(columns, schema.names, str(path))
    return open_batches(batches(), schema, str(path), text_column, label_column)


@contextmanager
def _as_parquet(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last for names of columns
        raise InputError(f"{path}: cannot be read as parquet ({reason_of(error)})") from error


def open_batches(
    batches: "Iterable[pa.RecordBatch | pa.Table]",
    schema: "pa.Schema",
    file: str,
    text_column: str,
    label_column: str | None,
) -> RowStream:
    """Take the rows out of Arrow tables, one after another.

    Args:
        batches: The tables.
        schema: Their schema; its Hugging Face metadata, where present, names the classes.
        file: What to call them in messages.
        text_column: Name of the text column.
        label_column: Name of the label column; None to read no labels.

    Returns:
        The rows.

    Raises:
        InputError: If a column is missing; while the rows are read, if one of them is not as it should be.
    """
    require_columns([text_column] if label_column is None else [text_column, label_column], schema.names, file)
    declared = _declared_classes(schema, label_column)

    def rows() -> Iterator[NamedRow]:
        number = 0
        for batch in batches:
            values = _values(batch, file, text_column)
            labels = [None] * len(values) if label_column is None else _values(batch, file, label_column)
            for value, label in zip(values, labels, strict=True):
                number += 1
                place = f"{file}, row {number}"
                text = checked_text(value, place, text_column)
                yield number, text, _declared_name(label, declared, place, str(label_column))

    return RowStream(rows(), file, "row", declared)


def sample_columns(path: Path, limit: int) -> dict[str, list[Any]]:
    """Read the first rows of a file, to guess what its columns are for.

    Args:
        path: A `.csv`, `.jsonl` or `.parquet` file, or a packed one.
        limit: Number of rows at most.

    Returns:
        Values by name of column, as the file holds them; None where a JSON object has no such key. Empty for a file of
        another kind, or one that cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        found: dict[str, list[Any]] = {}
        with suppress(pa.ArrowException, OSError, ValueError), pq.ParquetFile(path) as file:
            for batch in islice(file.iter_batches(limit), 1):  # none where there are no rows
                for name, values in zip(batch.schema.names, batch.columns, strict=True):
                    with suppress(OverflowError, ValueError):  # times beyond all dates
                        found[name] = values.to_pylist()
        return found
    with suppress(InputError, OSError), passing_over():
        if ending(path) == ".csv":
            rows = [row for _, row in islice(_csv_rows(csv.reader(read_lines(path)), path), limit + 1)]
            header = enumerate(rows[0] if rows else ())
            return {name: [row[i] for row in rows[1:] if i < len(row)] for i, name in header}
        if ending(path) == ".jsonl":
            records = list(filter(None, map(_record, islice(read_lines(path), limit))))
            return {name: [one.get(name) for one in records] for name in dict.fromkeys(chain.from_iterable(records))}
    return {}


def _record(line: str) -> dict[str, Any]:
    """The JSON object in a line; empty where there is none."""
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        return record if isinstance(record, dict) else {}
    return {}


def _values(table: "pa.RecordBatch | pa.Table", file: str, column: str) -> list[Any]:
    import pyarrow as pa

    try:
        values: list[Any] = table[column].to_pylist()
    except (ValueError, OverflowError, pa.ArrowException) as error:  # bytes that are no text, times beyond all dates
        raise InputError(f"{file}: column '{column}' cannot be read ({reason_of(error)})") from error
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


def _read_csv(path: Path, text_column: str, label_column: str | None) -> Iterator[NamedRow]:
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(progress(read_lines(path), None, f"reading {path}"), strict=True)
    rows = _csv_rows(reader, path)
    header = next(rows, (1, []))[1]
    columns = [text_column] if label_column is None else [text_column, label_column]
    require_columns(columns, header, str(path))
    text_index, label_index = header.index(text_column), header.index(label_column) if label_column else None
    for number, fields in rows:
        place = f"{path}, line {number}"
        if len(fields) != len(header):
            refuse("row", f"{place}: {len(fields)} fields, but the header has {len(header)}")
            continue
        text = checked_text(fields[text_index], place, text_column)
        yield number, text, None if label_index is None else class_name(fields[label_index], place, str(label_column))


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


def _read_jsonl(path: Path, text_column: str, label_column: str | None) -> Iterator[NamedRow]:
    columns = [text_column] if label_column is None else [text_column, label_column]
    for number, line in enumerate(progress(read_lines(path), None, f"reading {path}"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            refuse("row", f"{place}: not valid JSON ({reason_of(error)})")
            continue
        if not isinstance(record, dict):
            refuse("row", f"{place}: not a JSON object")
            continue
        if message := _missing(columns, list(record), place):
            refuse("row", message)
            continue
        text = checked_text(record[text_column], place, text_column)
        yield number, text, class_name(record[label_column], place, label_column) if label_column else None


def require_columns(columns: Sequence[str], present: Sequence[str], place: str) -> None:
    """Refuse a table that lacks a column, or has it twice.

    Raises:
        InputError: Names the place, the column and those that there are.
    """
    if message := _missing(columns, present, place):
        raise InputError(message)
    for column in columns:
        if present.count(column) > 1:
            raise InputError(f"{place}: column '{column}' stands twice in the header")


def _missing(columns: Sequence[str], present: Sequence[str], place: str) -> str | None:
    """What to say where a column, of texts or also of labels, is missing; None where none is."""
    for column, flag in zip(columns, COLUMN_FLAGS, strict=False):
        if column not in present:
            shown = ", ".join(f"{name!r:.60}" for name in present[:COLUMNS_SHOWN]) or "none"
            more = ", ..." if len(present) > COLUMNS_SHOWN else ""
            return f"{place}: no column '{column}'; it has {shown}{more}" + (f"; {flag} chooses one" if present else "")
    return None
