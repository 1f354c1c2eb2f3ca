"""Any bytes as a file, any text to classify: a result that makes sense or one line, never anything else.

`.ci/fuzz.py` runs the same checks of the readers under a coverage-guided fuzzer.
"""

import csv
import gzip
import io
import json
import math
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from textadv import cli
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.archives import read_acl_archive
from textadv.corpus.files import read_file
from textadv.corpus.fitting import fit
from textadv.corpus.rows import NamedRows
from textadv.corpus.splits import build_corpus
from textadv.corpus.store import SPLITS
from textadv.corpus.tokenization import TextTokenizer
from textadv.errors import InputError
from textadv.evaluation.inputs import read_texts
from textadv.evaluation.predictor import Predictor
from textadv.models.classifier import Classifier
from textadv.models.layers import LastMeanMax
from textadv.models.recurrent import RecurrentEncoder
from textadv.settings import DataSettings, TokenizerSettings

PARSER = cache(cli.build_parser)  # takes longer to build than all else in a case


def check_corpus(parts: dict[str, list[NamedRows]]) -> None:
    """What can be read can be split, too, and nothing is lost or made up."""
    corpus = build_corpus(parts, DataSettings(validation_fraction=0.2, keep_duplicates=True))
    assert set(corpus.splits) == set(SPLITS)
    assert len(corpus.classes) >= 2
    given = sorted(text for rows in parts.values() for part in rows for text in part.texts)
    assert sorted(text for split in corpus.splits.values() for text in split.texts) == given
    assert all(text.strip() and "\0" not in text for text in given)
    for split in corpus.splits.values():
        assert all(-1 <= label < len(corpus.classes) for label in split.labels)
    json.dumps(corpus.classes).encode()


def _rows(ending: str) -> Callable[[bytes, Path], None]:
    def check(content: bytes, folder: Path) -> None:
        file = folder / f"fuzzed{ending}"
        file.write_bytes(content)
        check_corpus({"train": [read_file(file, "text", "label")]})

    return check


def _lines(content: bytes, folder: Path) -> None:
    (folder / "fuzzed.txt").write_bytes(content)
    texts = list(read_texts(str(folder / "fuzzed.txt"), "text"))
    assert len(texts) == content.count(b"\n") + (content[-1:] not in (b"", b"\n"))


def _archive(content: bytes, folder: Path) -> None:
    (folder / "fuzzed.tar.gz").write_bytes(gzip.compress(content, compresslevel=1))
    check_corpus(read_acl_archive(folder / "fuzzed.tar.gz"))


def _damaged_archive(content: bytes, folder: Path) -> None:
    (folder / "fuzzed.tar.gz").write_bytes(content)
    check_corpus(read_acl_archive(folder / "fuzzed.tar.gz"))


def _config(content: bytes, folder: Path) -> None:
    (folder / "fuzzed.yaml").write_bytes(content)
    with patch.object(cli, "build_parser", PARSER):
        cli.run(["prepare", "--config", str(folder / "fuzzed.yaml"), "--data.source", "no such source!"])


def _tokenizer(content: bytes, folder: Path) -> None:
    TextTokenizer.from_json(content.decode("utf-8", "replace"))


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "csv": _rows(".csv"),
    "jsonl": _rows(".jsonl"),
    "parquet": _rows(".parquet"),
    "txt": _lines,
    "tar": _archive,
    "tar.gz": _damaged_archive,
    "yaml": _config,
    "tokenizer": _tokenizer,
}


def check_reader(name: str, content: bytes, folder: Path) -> None:
    """Anything but a result or an `InputError` is raised on."""
    with suppress(InputError):
        READERS[name](content, folder)


def tar(members: list[tuple[str, bytes, bytes, int]]) -> bytes:
    """A tar file of members with any name, type and claimed size."""
    file = io.BytesIO()
    for name, kind, content, size in members:
        member = tarfile.TarInfo(name)
        member.type, member.size = kind, size
        padding = b"\0" * (-len(content) % tarfile.BLOCKSIZE)
        file.write(member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + content + padding)
    return file.getvalue() + bytes(2 * tarfile.BLOCKSIZE)


@st.composite
def members(draw: st.DrawFn) -> tuple[str, bytes, bytes, int]:
    part = draw(st.sampled_from(["train/pos", "train/neg", "test/pos", "train/unsup", "..", ""]))
    name = f"aclImdb/{part}/{draw(st.integers(0, 9))}.txt"
    content = draw(st.binary(max_size=20) | st.sampled_from([b"good film", b"bad film"]))
    size = draw(st.just(len(content)) | st.integers(-1, 2**40))
    return name, draw(st.sampled_from([b"0", b"\0", b"1", b"2", b"5", b"L", b"K", b"x", b"g", b"S"])), content, size


LABELS = st.sampled_from(["a", "b", "1", "-1", "2.0", "NA", "null", ""])
TEXTS = st.text(max_size=30) | st.sampled_from(["good film", "NA", "<br />", "\ufeff", "😀", "שלום", "a\u2028b"])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())


@st.composite
def csv_bytes(draw: st.DrawFn) -> bytes:
    file = io.StringIO()
    header = draw(st.permutations(["text", "label", "id"]) | st.just(["text", "label"]))
    rows = draw(st.lists(st.tuples(TEXTS, LABELS, LABELS), max_size=12))
    named = [dict(zip(("text", "label", "id"), row, strict=True)) for row in rows]
    writer = csv.DictWriter(file, header, extrasaction="ignore", lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    writer.writeheader()
    writer.writerows(named)
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + file.getvalue().encode("utf-8", "surrogatepass")


@st.composite
def jsonl_bytes(draw: st.DrawFn) -> bytes:
    record = st.fixed_dictionaries({"text": TEXTS | VALUES, "label": LABELS | st.integers(0, 2) | VALUES})
    plain = st.fixed_dictionaries({"text": TEXTS, "label": st.sampled_from(["a", "b", 3, None])})
    rows = draw(st.lists(plain | record, max_size=12) | st.lists(plain, min_size=4, max_size=12))
    return "\n".join(json.dumps(row, ensure_ascii=draw(st.booleans())) for row in rows).encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn, whole: SearchStrategy[bytes]) -> bytes:
    """As it is, with some bytes replaced, or cut."""
    content = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        if content:
            place = draw(st.integers(0, len(content) - 1))
            content[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content[: draw(st.none() | st.integers(0, len(content)))])


def parquet(texts: list[str], labels: list[Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": texts, "label": labels}), file)
    return file.getvalue()


REVIEWS = [(f"aclImdb/train/{part}/1.txt", b"0", part.encode(), 3) for part in ("neg", "pos")]
REVIEWS += [(f"aclImdb/train/{part}/2.txt", b"0", part.encode() + b" 2", 5) for part in ("neg", "pos")]
EXAMPLES = {
    "csv": b'text,label\n"a ""film""",1\nb,1\n\nc,2\nd,2\n,',
    "jsonl": b'{"text": "a", "label": 1}\n{"text": "\\u00e9", "label": 1}\n{"label": "2", "text": "c"}\n',
    "parquet": parquet(["a", "b", "c", "d"], [0, 0, 1, 1]),
    "txt": "one\n\ntwo é".encode(),
    "tar": tar(REVIEWS),
    "tar.gz": gzip.compress(tar(REVIEWS)),
    "yaml": b"data: {text_column: t, seed: 3}\nseed: 1\nmodel:\n  hidden_size: 5\n",
    "tokenizer": fit({"train": ["a"]}, ["train"], TokenizerSettings(min_documents=1))[0].to_json().encode(),
}
YAML = ["seed: 1", "data: {train: x}", "data:\n  seed: [1, *a]", "&a {data: *a}", "!!python/name:os.system", "model: 3"]
FILES: dict[str, SearchStrategy[bytes]] = {
    "csv": damaged(csv_bytes()),
    "jsonl": damaged(jsonl_bytes()),
    "txt": damaged(st.lists(TEXTS, max_size=5).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))),
    "tar": damaged(st.lists(members(), max_size=6).map(tar)),
    "tar.gz": damaged(st.lists(members(), max_size=3).map(tar).map(gzip.compress)),
    "yaml": damaged(st.sampled_from(YAML).map(str.encode)),
}


def explore(check: Callable[[Any], None], cases: SearchStrategy[Any], count: int) -> None:
    """Check many cases; a small number of them are the same every time."""
    quiet = settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=count < 1000,
        suppress_health_check=list(HealthCheck),
    )
    quiet(given(cases)(check))()


def few_or_many(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


@pytest.mark.parametrize("name", ["parquet", "txt", "tar", "tar.gz", "tokenizer"])
def test_the_checks_are_reached(name: str, tmp_path: Path) -> None:
    """A whole file passes: what the fuzzers begin with gets through to the end."""
    READERS[name](EXAMPLES[name], tmp_path)


@few_or_many(40, 1500)
@pytest.mark.parametrize("name", FILES)
def test_files(name: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        explore(lambda content: check_reader(name, content, Path(folder)), FILES[name], count)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    tokenizer, _ = fit({"train": ["good film", "bad film"]}, ["train"], TokenizerSettings(min_documents=1))
    torch.manual_seed(0)
    encoder = RecurrentEncoder(torch.ones(tokenizer.vocabulary_size), 3, 4, pooling=LastMeanMax, window=4)
    classifier = Classifier(encoder, 2, 3)
    return Predictor(LoadedClassifier(classifier.eval(), ("a", "b"), tokenizer.to_json(), {}))


@few_or_many(40, 2500)
def test_texts(predictor: Predictor, count: int) -> None:
    def check(texts: list[str]) -> None:
        predictions = list(predictor.predict(texts))
        assert len(predictions) == len(texts)
        for prediction in predictions:
            assert list(prediction.probabilities) == ["a", "b"]
            assert math.isclose(sum(prediction.probabilities.values()), 1)
            assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.__getitem__)
            json.loads(prediction.to_json(), parse_constant=pytest.fail)

    any_text = st.text(st.characters(), max_size=200) | st.text(st.characters(categories=["Cs", "Cc"]), max_size=5)
    explore(check, st.lists(any_text | TEXTS, max_size=4), count)


@few_or_many(20, 1000)
@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_tokenizers(kind: Any, count: int) -> None:
    def check(texts: list[str]) -> None:
        tokenizer, documents = fit({"train": texts}, ["train"], TokenizerSettings(kind, min_documents=1))
        again = TextTokenizer.from_json(tokenizer.to_json()).encode(texts)
        assert [ids.tolist() for ids in again] == [ids.tolist() for ids in documents["train"]]

    explore(check, st.lists(st.text(max_size=40) | TEXTS, min_size=1, max_size=6), count)
