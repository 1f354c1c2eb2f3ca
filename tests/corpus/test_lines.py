"""CSV and JSONL, packed by gzip or not, from one file or many: the same rows, or one line that says what is wrong."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from textadv.commands.check_data import check_corpus
from textadv.corpus import lines
from textadv.corpus.files import read_file, sample_columns
from textadv.corpus.lines import ending
from textadv.corpus.preparation import prepare
from textadv.corpus.sources import load_corpus, source_identity
from textadv.errors import InputError
from textadv.settings import DataSettings, TokenizerSettings

ROWS = [(f"{word} film {i}", word) for i in range(20) for word in ("good", "bad")]


def as_csv(rows: list[tuple[str, str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([("text", "label"), *rows])
    return file.getvalue().encode()


def as_jsonl(rows: list[tuple[str, str]]) -> bytes:
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows).encode()


@pytest.mark.parametrize(("kind", "write"), [("csv", as_csv), ("jsonl", as_jsonl)])
def test_packed_files_hold_the_same_rows(tmp_path: Path, kind: str, write: object) -> None:
    content = write(ROWS)  # type: ignore[operator]
    (tmp_path / f"a.{kind}").write_bytes(content)
    (tmp_path / f"a.{kind}.gz").write_bytes(gzip.compress(content))
    plain, packed = (read_file(tmp_path / f"a.{kind}{end}", "text", "label") for end in ("", ".gz"))
    assert (plain.texts, plain.names, plain.numbers) == (packed.texts, packed.names, packed.numbers)
    assert plain.texts == [text for text, _ in ROWS]
    assert sample_columns(tmp_path / f"a.{kind}.gz", 3) == sample_columns(tmp_path / f"a.{kind}", 3) != {}


def test_the_ending_tells_the_kind() -> None:
    assert [ending(Path(name)) for name in ("a.csv", "b.JSONL.GZ", "c.d.csv.gz", "e.gz", "f")] == [
        ".csv", ".jsonl", ".csv", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text,label\nplain,1\n", "cannot be read as gzip"),
        (gzip.compress(as_csv(ROWS))[:-20], "cannot be read as gzip"),
        (gzip.compress(as_csv(ROWS))[:-8] + bytes(8), "cannot be read as gzip"),
        (gzip.compress(as_csv(ROWS))[:30] + b"\xff" * 30 + gzip.compress(as_csv(ROWS))[60:], "cannot be read as gzip"),
        (gzip.compress(b"text,label\nx,1\n,1\n"), "line 3: column 'text' is empty"),
        (gzip.compress(b""), "no column 'text'"),
        (b"", "no column 'text'"),
    ],
    # A gzip file holds the second in which it was made, and a name must be the same in every process that runs tests.
    ids=["plain", "cut", "checksum", "overwritten", "empty text", "empty table", "empty file"],
)
def test_damaged_gzip_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.csv.gz"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_file(path, "text", "label")
    assert str(error.value).startswith(str(path))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_gzip_bomb_is_given_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MIN_UNPACKED_BYTES", 2**16)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "x", "label": "a"}\n' * 200_000))
    with pytest.raises(InputError, match=r"bomb\.jsonl\.gz: unpacks to more than 200 times its size"):
        read_file(path, "text", "label")


@pytest.mark.parametrize("name", ["long.jsonl", "long.jsonl.gz", "long.csv"])
def test_a_line_without_an_end_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("textadv.corpus.lines.MAX_LINE_BYTES", 1000)
    content = b'text,label\n"' + b"x" * 2000
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputError, match=r"line 2: has more than 1000 bytes|line 1: not valid JSON"):
        read_file(tmp_path / name, "text", "label")


def test_an_unclosed_quote_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textadv.corpus.files.MAX_LINE_BYTES", 1000)
    (tmp_path / "a.csv").write_text('text,label\nx,1\n"y,1\n' + "z,1\n" * 1000)
    with pytest.raises(InputError, match=r"a\.csv, line 3: not valid CSV \(field larger than field limit \(1000\)\)"):
        read_file(tmp_path / "a.csv", "text", "label")


def test_a_pattern_names_many_files(tmp_path: Path) -> None:
    """Rows in several files make the store that they make in one, whatever the order of the files."""
    (tmp_path / "train.csv").write_bytes(as_csv(ROWS))
    raw = [(f"unlabeled text {i}", "") for i in range(30)]
    (tmp_path / "all.jsonl").write_bytes(as_jsonl(raw))
    (tmp_path / "raw" / "deep").mkdir(parents=True)
    (tmp_path / "raw" / "a.jsonl.gz").write_bytes(gzip.compress(as_jsonl(raw[20:])))
    (tmp_path / "raw" / "deep" / "a.jsonl.gz").write_bytes(gzip.compress(as_jsonl(raw[:20])))
    stores = []
    for pattern in ("all.jsonl", "raw/**/*.jsonl.gz"):
        data = DataSettings(train=str(tmp_path / "train.csv"), unlabeled=str(tmp_path / pattern))
        data.cache = str(tmp_path / "cache")
        path = prepare(data, TokenizerSettings()).path
        stores.append({file.name: file.read_bytes() for file in path.iterdir() if file.name != "manifest.json"})
    assert stores[0] == stores[1]
    assert list(source_identity(data)) == ["train", "unlabeled-00000", "unlabeled-00001"]


def test_a_file_may_have_a_name_with_wildcards(tmp_path: Path) -> None:
    (tmp_path / "train[1].csv").write_bytes(as_csv(ROWS))
    assert len(load_corpus(DataSettings(train=str(tmp_path / "train[1].csv"))).splits["train"].texts) == 34


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(as_csv(ROWS))
    data = DataSettings(train=str(tmp_path / "train.csv"), unlabeled=str(tmp_path / "raw" / "*.jsonl"))
    for function in (load_corpus, source_identity):
        with pytest.raises(InputError, match=r"^--data\.unlabeled .*\*\.jsonl: no file matches$"):
            function(data)


def test_errors_in_one_of_many_files_name_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(as_csv(ROWS))
    (tmp_path / "b.csv").write_bytes(as_csv([*ROWS, (" ", "good")]))
    with pytest.raises(InputError, match=r"b\.csv, line 42: column 'text' is empty"):
        load_corpus(DataSettings(train=str(tmp_path / "*.csv")))


def test_check_data_guesses_columns_from_the_first_of_many_files(tmp_path: Path) -> None:
    content = as_csv(ROWS).replace(b"text,label", b"body,team", 1)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    columns = next(
        check
        for check in check_corpus(DataSettings(train=str(tmp_path / "*.csv.gz")), TokenizerSettings())
        if check.name == "columns"
    )
    assert columns.example == "give --data.text_column body --data.label_column team"
