"""Preparation in memory that does not grow with the text, and in which nothing of the result depends on that."""

import hashlib
import json
import random
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textadv.corpus.preparation import prepare
from textadv.settings import DataSettings, TokenizerSettings

WORDS = ["good", "bad", "Café", "cafe\u0301", "x<br />y", "it's", "हिन्दी", "日本 語", "<eos>", "\U0001f600"]
TOKENIZERS = {
    "word": TokenizerSettings(),
    "drop": TokenizerSettings(lowercase=True, max_vocabulary=200, unknown="drop", min_documents=3),
    "bpe": TokenizerSettings("bpe", max_vocabulary=400),
}
Row = tuple[str, str | None]


def rows(seed: int, number: int, names: list[str | None]) -> list[Row]:
    rng = random.Random(seed)
    words = [*WORDS, *(f"w{i}" for i in range(100))]
    return [(" ".join(rng.choices(words, k=rng.randrange(1, 20))), rng.choice(names)) for _ in range(number)]


def write(path: Path, content: list[Row]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": [text for text, _ in content], "label": [name for _, name in content]}), path)
    else:
        path.write_text("".join(json.dumps({"text": text, "label": name}) + "\n" for text, name in content))
    return str(path)


def corpus(folder: Path, kind: str) -> DataSettings:
    """Copies within and between the splits, contradicting labels, rows without one."""
    train = rows(0, 200, ["9", "10", "-1", None])
    train += [*train[:10], (train[3][0], "9"), (train[3][0], "10")]
    raw = rows(1, 200, [None]) + train[5:30]
    test = rows(2, 50, ["9", "10", "-1"]) + [(text, name or "9") for text, name in train[30:50]]
    files = {"train": train, "unlabeled": raw, "test": test}
    paths = {name: write(folder / f"{name}.{kind}", content) for name, content in files.items()}
    return DataSettings(**paths, cache=str(folder / "cache"))


def content_sum(store: Path) -> str:
    """Of all that does not depend on the versions of libraries."""
    manifest = json.loads((store / "manifest.json").read_text())
    total = hashlib.sha256(json.dumps([manifest[name] for name in ("classes", "report", "counts")]).encode())
    for pattern in ("*.tokens", "*.npy"):
        for file in sorted(store.glob(pattern)):
            total.update(file.name.encode() + file.read_bytes())
    return total.hexdigest()[:16]


# As they were when all texts were held in memory.
GOLDEN = {
    "jsonl word given": "37ec76dce550ac08",
    "jsonl word cut": "4b6b3c3ad2aa4255",
    "jsonl drop given": "9fa3a1c9c5836dd8",
    "jsonl drop cut": "6d8e3d69ab63e3a0",
    "jsonl bpe given": "4ad3ad8e70d9862f",
    "jsonl bpe cut": "c49bb196d433ec58",
    "parquet word given": "37ec76dce550ac08",
    "parquet word cut": "4b6b3c3ad2aa4255",
    "parquet drop given": "9fa3a1c9c5836dd8",
    "parquet drop cut": "6d8e3d69ab63e3a0",
    "parquet bpe given": "4ad3ad8e70d9862f",
    "parquet bpe cut": "c49bb196d433ec58",
    "builtin": "98b7d3958889fec1",
}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("validation", ["given", "cut"])
def test_stores_are_the_same_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, tokenizer: str, validation: str
) -> None:
    data = corpus(tmp_path, kind)
    if validation == "given":
        held_out = rows(3, 30, ["9", "10"]) + [(text, "9") for text, _ in rows(0, 20, ["9"])]
        data.validation = write(tmp_path / f"validation.{kind}", held_out)
    assert content_sum(prepare(data, TOKENIZERS[tokenizer]).path) == GOLDEN[f"{kind} {tokenizer} {validation}"]
    small_memory(monkeypatch)
    data.cache = str(tmp_path / "again")
    assert content_sum(prepare(data, TOKENIZERS[tokenizer]).path) == GOLDEN[f"{kind} {tokenizer} {validation}"]


def test_the_built_in_corpus_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    data = DataSettings(source="builtin", cache=str(tmp_path))
    assert content_sum(prepare(data, TOKENIZERS["word"]).path) == GOLDEN["builtin"]


def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything go to disk that can, in many parts."""
    monkeypatch.setattr("textadv.corpus.spool.RUN_BYTES", 2**14)
    monkeypatch.setattr("textadv.corpus.spool.BLOCK_BYTES", 2**12)
    monkeypatch.setattr("textadv.corpus.spool.MOST_RUNS", 4)
    monkeypatch.setattr("textadv.corpus.spool.Spool.__init__.__defaults__", (1,))
    monkeypatch.setattr("textadv.corpus.fitting.CHARACTERS_PER_PART", 2**12)
    monkeypatch.setattr("textadv.corpus.tokenization.CHARACTERS_PER_BATCH", 2**11)
    monkeypatch.setattr("textadv.corpus.vocabulary.MOST_WORDS", 20)


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: str) -> None:
    """The documents become longer, not more: per document some numbers are kept."""
    small_memory(monkeypatch)
    monkeypatch.setattr("textadv.corpus.spool.RUN_BYTES", 2**16)
    rng = random.Random(0)
    peaks = []
    for length in (2, 20, 80):  # the first one loads what is loaded once
        texts = [" ".join(rng.choices(WORDS * 10, k=length * 10)) for _ in range(400)]
        (tmp_path / str(length)).mkdir()
        train = write(tmp_path / str(length) / "train.jsonl", [(text, "ab"[i % 2]) for i, text in enumerate(texts)])
        data = DataSettings(train=train, cache=str(tmp_path / str(length) / "cache"))
        size = sum(map(len, texts))
        del texts
        tracemalloc.start()
        prepare(data, TOKENIZERS[tokenizer])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert size > 1_000_000
    assert peaks[2] < peaks[1] + 200_000


KILLED = """
import sys, time
from pathlib import Path
from textadv.corpus import preparation, spool
from textadv.settings import DataSettings, TokenizerSettings
spool.RUN_BYTES = 2**14
def encode_without_end(*arguments):
    Path(sys.argv[2]).touch()
    time.sleep(600)
preparation.fit_corpus = encode_without_end
preparation.prepare(DataSettings(train=sys.argv[1], cache=sys.argv[3]), TokenizerSettings())
"""


def test_a_killed_process_leaves_no_texts_and_the_next_one_starts_afresh(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", rows(0, 300, ["a", "b"]))
    reached, cache = tmp_path / "reached", tmp_path / "cache"
    run = subprocess.Popen([sys.executable, "-c", KILLED, train, str(reached), str(cache)])
    deadline = time.monotonic() + 120
    while not reached.exists():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.kill()
    run.wait()
    (left,) = (cache / "stores").iterdir()
    assert list(left.iterdir()) == []  # what was to become the store
    store = prepare(DataSettings(train=train, cache=str(cache)), TokenizerSettings()).path
    assert list((cache / "stores").iterdir()) == [store]


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    data = corpus(tmp_path, "jsonl")
    script = f"""
from pathlib import Path
from textadv.corpus.preparation import prepare
from textadv.settings import DataSettings, TokenizerSettings
prepare(DataSettings(**{ {**vars(data), "cache": "CACHE"}!r}), TokenizerSettings())
"""
    stores = []
    for threads in ("1", "2"):
        run = script.replace("CACHE", str(tmp_path / threads))
        subprocess.run([sys.executable, "-c", run], check=True, env={"RAYON_NUM_THREADS": threads, "PATH": ""})
        (store,) = (tmp_path / threads / "stores").iterdir()
        stores.append(content_sum(store))
    assert stores[0] == stores[1]
