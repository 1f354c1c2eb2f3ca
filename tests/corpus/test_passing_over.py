"""Readers that count what they cannot use, where they otherwise stop at the first."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textadv.corpus.archives import read_acl_folder
from textadv.corpus.files import read_file, sample_columns
from textadv.corpus.rows import passing_over
from textadv.errors import InputError

CSV = b"text,label\ngood,a\n,a\n  ,b\nx,b,c\n\xff bad,b\nn\0ul,a\nlong," + b"y" * 201 + b"\nlast,b\n"
JSONL = [
    json.dumps({"text": "good", "label": "a"}),
    json.dumps({"text": None, "label": "a"}),
    json.dumps({"text": 5, "label": "a"}),
    json.dumps({"text": "float", "label": 1.5}),
    json.dumps({"text": "no label"}),
    "{",
    "[]",
    json.dumps({"text": "\ud800", "label": "b"}),
    json.dumps({"text": "last", "label": "b"}),
]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CSV)
    with passing_over() as found:
        rows = read_file(path, "text", "label")
    assert found.counts == {"empty": 2, "row": 1, "encoding": 2, "label": 1}
    assert found.first == {
        "empty": f"{path}, line 3: column 'text' is empty",
        "row": f"{path}, line 5: 3 fields, but the header has 2",
        "encoding": f"{path}, line 6: not valid UTF-8 ('utf-8' codec can't decode byte 0xff in position 0: invalid "
        "start byte)",
        "label": f"{path}, line 8: column 'label' holds a label of more than 200 characters",
    }
    assert rows.texts == ["good", "", "", " bad", "nul", "long", "last"]
    assert rows.names == ["a", "a", "b", "b", "a", None, "b"]
    assert rows.numbers == [2, 3, 4, 6, 7, 8, 9]


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(JSONL))
    with passing_over() as found:
        rows = read_file(path, "text", "label")
    assert found.counts == {"empty": 1, "row": 4, "label": 1, "encoding": 1}
    assert (rows.texts, rows.names) == (["good", "", "", "float", "", "last"], ["a", "a", "a", None, "b", "b"])


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    features = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"text": ["good", "", "n\0l", "last"], "label": [0, 1, 1, 2]}).replace_schema_metadata(metadata)
    pq.write_table(table, path)
    with passing_over() as found:
        rows = read_file(path, "text", "label")
    assert found.counts == {"empty": 1, "encoding": 1, "label": 1}
    assert (rows.texts, rows.names) == (["good", "", "", "last"], ["neg", "pos", "pos", None])


def test_reviews(tmp_path: Path) -> None:
    for part, content in (("train/neg", b"bad"), ("train/pos", b"\xff"), ("test/neg", b" "), ("test/pos", b"good")):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "1.txt").write_bytes(content)
    with passing_over() as found:
        rows = read_acl_folder(tmp_path)
    assert found.counts == {"encoding": 1, "empty": 1}
    assert [part.texts for split in ("train", "test") for part in rows[split]] == [["bad"], [], [""], ["good"]]


def test_afterwards_the_first_one_is_refused_again(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CSV)
    with passing_over():
        read_file(path, "text", "label")
    with pytest.raises(InputError, match="line 3: column 'text' is empty"):
        read_file(path, "text", "label")


def test_what_has_no_rows_at_all_is_refused_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,label\n"open,a\n')
    with passing_over(), pytest.raises(InputError, match="unclosed quote"):
        read_file(path, "text", "label")


def test_a_sample_of_the_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("body,team\nx,1\ny\nz,3\n")
    assert sample_columns(tmp_path / "a.csv", 2) == {"body": ["x", "y"], "team": ["1"]}
    (tmp_path / "a.jsonl").write_bytes(b'{"body": "x\xff"}\n[]\n{\n\n{"team": 2}\n{"body": "z"}\n')
    assert sample_columns(tmp_path / "a.jsonl", 5) == {"body": ["x", None], "team": [None, 2]}
    pq.write_table(pa.table({"body": ["x", "y"], "team": [1, 2]}), tmp_path / "a.parquet")
    assert sample_columns(tmp_path / "a.parquet", 1) == {"body": ["x"], "team": [1]}
    late = pa.array([2**61, 1], pa.timestamp("us"))  # beyond all dates
    pq.write_table(pa.table({"body": ["x", "y"], "when": late}), tmp_path / "a.parquet")
    assert sample_columns(tmp_path / "a.parquet", 1) == {"body": ["x"]}
    pq.write_table(pa.table({"body": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert sample_columns(tmp_path / "a.parquet", 1) == {}
    for name, content in (("b.csv", b""), ("b.jsonl", b"[3]"), ("b.txt", b"x")):
        (tmp_path / name).write_bytes(content)
        assert sample_columns(tmp_path / name, 5) == {}
    (tmp_path / "b.parquet").write_bytes(b"no")
    assert sample_columns(tmp_path / "b.parquet", 5) == {}
    assert sample_columns(tmp_path / "none.csv", 5) == {}
