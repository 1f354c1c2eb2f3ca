import io

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textadv.corpus.files import read_file
from textadv.errors import InputError


def read(path, content, text_column="text", label_column="label"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(path, text_column, label_column)


def test_csv_keeps_na_and_null_as_ordinary_strings(tmp_path):
    rows = read(tmp_path / "a.csv", 'id,label,text\n1,NA,null\n\n2,null,"two\nlines, ""quoted"""\n3,,free\n')
    assert rows.texts == ["null", 'two\nlines, "quoted"', "free"]
    assert rows.names == ["NA", "null", None]
    assert [rows.place(i).rpartition(", ")[2] for i in range(3)] == ["line 2", "line 4", "line 6"]


def test_jsonl_takes_strings_integers_and_null_as_labels(tmp_path):
    content = '{"t": "a\\n", "l": 1}\n\n{"l": "one", "t": "b", "x": []}\n{"t": "c", "l": null}\n{"t": "d", "l": -1}\n'
    rows = read(tmp_path / "a.jsonl", content, "t", "l")
    assert rows.texts == ["a\n", "b", "c", "d"]
    assert rows.names == ["1", "one", None, "-1"]
    assert list(rows.numbers) == [1, 3, 4, 5]


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    assert read(tmp_path / "a.csv", b"\xef\xbb\xbftext,label\nx,1\n").texts == ["x"]


def test_unlabeled_files_need_no_label_column(tmp_path):
    rows = read(tmp_path / "a.csv", "text\nx\n", label_column=None)
    assert rows.names == [None]


def test_long_fields_are_read(tmp_path):
    assert read(tmp_path / "a.csv", f"text,label\n{'x' * 200_000},1\n").texts == ["x" * 200_000]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("body,label\nx,1\n", None, "no column 'text'; it has 'body', 'label'"),
        ("text,text,label\nx,y,1\n", None, "'text' stands twice"),
        ("", None, "no column 'text'; it has none"),
        ("text,label\n", None, "no rows"),
        ("text,label\nx,1\n,2\n", 3, "column 'text' is empty"),
        ("text,label\nx,1\n  ,2\n", 3, "column 'text' is empty"),
        ("text,label\nx,1\nx,1,2\n", 3, "3 fields"),
        ("text,label\nx,1\nx\n", 3, "1 fields"),
        (b"text,label\nx,1\n\xff,1\n", 3, "UTF-8"),
        (b"text,label\nx\0,1\n", 2, "NUL"),
        ('text,label\nx,1\n"x,1\ny,1\n', 3, "unclosed quote"),
        ('text,label\nx,1\n"x"y,1\n', 3, "not valid CSV"),
    ],
)
def test_bad_csv_is_refused_by_line(tmp_path, content, line, reason):
    assert_refused(tmp_path / "bad.csv", content, line, reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"label": 1}', "no column 'text'; it has 'label'"),
        (b'{"text": "x"}', "no column 'label'"),
        (b'{"text": 3, "label": 1}', "column 'text' holds 3, which is not a string"),
        (b'{"text": null, "label": 1}', "column 'text' is empty"),
        (b'{"text": "x\\u0000", "label": 1}', "NUL"),
        (b'{"text": "\\ud800", "label": 1}', "lone surrogate"),
        (b'{"text": "x", "label": "\\ud800"}', "lone surrogate"),
        (b'{"text": "x", "label": 1.5}', "column 'label' holds 1.5"),
        (b'{"text": "x", "label": 1.0}', "column 'label' holds 1.0"),
        (b'{"text": "x", "label": true}', "column 'label' holds True"),
        (b'{"text": "x", "label": [1]}', "column 'label' holds [1]"),
        (b'{"text": "\xff", "label": 1}', "UTF-8"),
    ],
)
def test_bad_jsonl_is_refused_by_line(tmp_path, line, reason):
    assert_refused(tmp_path / "bad.jsonl", b'{"text": "x", "label": 1}\n' + line + b"\n", 2, reason)


@pytest.mark.parametrize(
    ("columns", "row", "reason"),
    [
        ({"body": ["x"]}, None, "no column 'text'; it has 'body'"),
        ({"text": ["x"]}, None, "no column 'label'; it has 'text'; --data.label_column chooses one"),
        ({"text": ["x", None], "label": [0, 1]}, 2, "column 'text' is empty"),
        ({"text": [1, 2], "label": [0, 1]}, 1, "which is not a string"),
        ({"text": ["x", "y"], "label": [0.0, 1.5]}, 1, "column 'label' holds 0.0"),
        ({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}, None, "no rows"),
    ],
)
def test_bad_parquet_is_refused_by_row(tmp_path, columns, row, reason):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError) as error:
        read_file(path, "text", "label")
    assert_names(error, path, None if row is None else f"row {row}", reason)


def test_a_parquet_column_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.parquet"
    texts = pa.array(["x", "y"])
    pq.write_table(pa.Table.from_arrays([texts, texts, pa.array([0, 1])], ["text", "text", "label"]), path)
    with pytest.raises(InputError, match="'text' stands twice"):
        read_file(path, "text", "label")


def test_parquet_takes_class_names_from_the_hugging_face_metadata(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])})
    data = {"text": ["a", "b", "c", "d"], "label": [1, 0, -1, None]}
    datasets.Dataset.from_dict(data, features=features).to_parquet(tmp_path / "a.parquet")
    rows = read_file(tmp_path / "a.parquet", "text", "label")
    assert rows.declared == ("pos", "neg")
    assert rows.names == ["neg", "pos", None, None]


def test_a_class_number_beyond_the_declared_names_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    metadata = {b"huggingface": b'{"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}'}
    pq.write_table(pa.table({"text": ["x", "y"], "label": [1, 2]}).replace_schema_metadata(metadata), path)
    with pytest.raises(InputError, match="row 2: column 'label' holds 2, but there are 2 classes"):
        read_file(path, "text", "label")


def test_damaged_parquet_is_refused(tmp_path):
    assert_refused(tmp_path / "bad.parquet", b"PAR1 and then nothing", None, "cannot be read as parquet")


@pytest.mark.parametrize("column", ["text", "label"])
def test_parquet_strings_that_are_not_utf_8_are_refused(tmp_path, column):
    path = tmp_path / "a.parquet"
    columns = {"text": pa.array(["a", "b"]), "label": pa.array(["x", "y"])}
    pq.write_table(pa.table(columns | {column: pa.array([b"a", b"\xff"]).view(pa.string())}), path)
    with pytest.raises(InputError, match=rf"a\.parquet: column '{column}' cannot be read \(.*invalid start byte"):
        read_file(path, "text", "label")


def test_parquet_names_that_are_not_utf_8_are_refused(tmp_path):
    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"], "label": ["b"], "zzzz": [1]}), file)
    content = file.getvalue().replace(b"zzzz", b"zz\xff\xfe")
    assert_refused(tmp_path / "a.parquet", content, None, "cannot be read as parquet")


def test_missing_files_and_unknown_endings_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.csv: no such file"):
        read_file(tmp_path / "gone.csv", "text", "label")
    assert_refused(tmp_path / "a.xlsx", "text,label\n", None, "unknown ending '.xlsx'")


def assert_refused(path, content, line, reason):
    with pytest.raises(InputError) as error:
        read(path, content)
    assert_names(error, path, None if line is None else f"line {line}", reason)


def assert_names(error, path, place, reason):
    message = str(error.value)
    assert message.startswith(f"{path}: " if place is None else f"{path}, {place}: ")
    assert reason in message
    assert "\n" not in message
