import io
import sys

import pytest

from textadv.errors import InputError
from textadv.evaluation.inputs import read_texts

LINES = '\ufeffone\r\n\n  two, "three"\nünï\u2028code\x0c and on'
EXPECTED = ["one", "", '  two, "three"', "ünï\u2028code\x0c and on"]


def set_stdin(monkeypatch, content: bytes):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))


def test_every_line_of_a_txt_file_is_a_text(tmp_path):
    (tmp_path / "a.TXT").write_bytes(LINES.encode())
    assert list(read_texts(str(tmp_path / "a.TXT"), "text")) == EXPECTED


def test_standard_input_is_utf_8_whatever_the_locale_and_stays_open(monkeypatch):
    set_stdin(monkeypatch, LINES.encode())
    assert list(read_texts("-", "text")) == EXPECTED
    assert not sys.stdin.buffer.closed


def test_the_end_of_the_file_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    assert list(read_texts(str(tmp_path / "a.txt"), "text")) == ["one", "two"]
    (tmp_path / "empty.txt").write_text("")
    assert list(read_texts(str(tmp_path / "empty.txt"), "text")) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,review\n1,"one\nand more"\n2,NA\n'),
        ("a.jsonl", '{"review": "one\\nand more"}\n{"id": 2, "review": "NA"}\n'),
    ],
)
def test_a_column_is_read(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert list(read_texts(str(tmp_path / name), "review")) == ["one\nand more", "NA"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,text\n1,one\n2,\n3,"  "\n4,two\n'),
        ("a.jsonl", '{"text": "one"}\n{"text": ""}\n{"text": null}\n{"text": "two"}\n'),
    ],
)
def test_a_row_without_text_is_an_empty_text(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert list(read_texts(str(tmp_path / name), "text")) == ["one", "", "", "two"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"one\n\xff\n", r"a\.txt, line 2: not valid UTF-8"),
        ("a.txt", b"one\ntw\0o\n", r"a\.txt, line 2: holds a NUL byte"),
        ("a.csv", b"text\none\n\xff\n", r"a\.csv, line 3: not valid UTF-8"),
        ("a.csv", b"body\none\n", r"a\.csv: no column 'text'; it has 'body'; --data\.text_column chooses one"),
        ("a.csv", b"id,text\n1,one\n2\n", r"a\.csv, line 3: 1 fields"),
        ("a.jsonl", b'{"text": "one"}\n{"body": "two"}\n', r"a\.jsonl, line 2: no column 'text'"),
        ("a.jsonl", b'{"text": "one"}\n{', r"a\.jsonl, line 2: not valid JSON"),
        ("a.jsonl", b'{"text": 1}\n', r"a\.jsonl, line 1: .* not a string"),
        ("a.parquet", b"PAR", r"a\.parquet: cannot be read as parquet"),
        ("a.pdf", b"", r"a\.pdf: unknown ending '\.pdf'; give one of \.txt, \.csv, \.jsonl, \.parquet"),
    ],
)
def test_bad_input_is_refused_by_file_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        list(read_texts(str(tmp_path / name), "text"))
    assert "\n" not in str(caught.value)


def test_bad_standard_input_is_refused_by_line(monkeypatch):
    set_stdin(monkeypatch, b"one\n\xc3")
    with pytest.raises(InputError, match="standard input, line 2: not valid UTF-8"):
        list(read_texts("-", "text"))


@pytest.mark.parametrize("name", ["gone.txt", "gone.csv", "gone", "."])
def test_a_missing_file_is_refused_at_once(tmp_path, name):
    with pytest.raises(InputError, match="no such file"):
        read_texts(str(tmp_path / name), "text")


@pytest.mark.parametrize("ending", ["txt", "csv"])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path, monkeypatch, ending):
    file = tmp_path / f"a.{ending}"
    file.write_text("text\none\n")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "open", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        list(read_texts(str(file), "text"))
