import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from preparing import WORDS, Source, corpus, stores

from textadv.corpus import preparation
from textadv.corpus.preparation import prepare
from textadv.corpus.rows import Rows
from textadv.corpus.store import StoreWriter
from textadv.corpus.tokenization import EOS, UNKNOWN, TextTokenizer
from textadv.errors import InputError
from textadv.settings import DataSettings, TokenizerSettings


def test_the_store_holds_the_encoded_corpus(source: Source, data: DataSettings) -> None:
    store = prepare(data, WORDS)
    tokenizer = TextTokenizer.from_json(store.tokenizer_json)
    assert store.vocabulary_size == tokenizer.vocabulary_size == 3 + len({"good", "film", "bad", "plot", "the"})
    for name, rows in corpus().splits.items():
        split = store.splits[name]
        encoded = [split.document(i).tolist() for i in range(len(split))]
        assert encoded == [ids.tolist() for ids in tokenizer.encode(rows.texts)]
        assert split.labels.tolist() == rows.labels
    assert store.splits["train"].document(2).tolist() == [EOS]  # an empty text stays
    assert store.splits["validation"].document(0)[0] == UNKNOWN
    assert store.classes == ("neg", "pos")
    assert store.report == {"test_duplicates_in_train": 2}


def test_frequencies_count_train_and_unlabeled(source: Source, data: DataSettings) -> None:
    store = prepare(data, TokenizerSettings(min_documents=2))
    tokenizer = TextTokenizer.from_json(store.tokenizer_json)
    counts = {tokenizer.token(id): count for id, count in enumerate(store.frequencies)}
    assert counts == {"<pad>": 0, "<unk>": 3, "<eos>": 5, "film": 3, "good": 3}
    dropped = prepare(data, TokenizerSettings(min_documents=2, unknown="drop"))
    assert dropped.frequencies.tolist() == [0, 0, 5, 3, 3]


def test_a_second_prepare_reuses_the_store(source: Source, data: DataSettings) -> None:
    first = prepare(data, WORDS)
    second = prepare(replace(data, labels_per_class=1), replace(WORDS))
    assert source.reads == 1
    assert second.path == first.path
    assert first.path == Path(data.cache) / "stores" / first.fingerprint[:16]


def test_moving_the_cache_changes_nothing(source: Source, data: DataSettings, tmp_path: Path) -> None:
    first = prepare(data, WORDS)
    shutil.move(data.cache, tmp_path / "moved")
    moved = prepare(replace(data, cache=str(tmp_path / "moved")), WORDS)
    assert source.reads == 1
    assert moved.fingerprint == first.fingerprint


def test_a_store_may_be_given_in_place_of_its_source(source: Source, data: DataSettings, tmp_path: Path) -> None:
    first = prepare(data, WORDS)
    folder = shutil.move(first.path, tmp_path / "moved")
    given = DataSettings(source=str(folder), cache=str(tmp_path / "none"), seed=5)
    second = prepare(given, TokenizerSettings(kind="bpe"))
    assert (second.fingerprint, second.classes) == (first.fingerprint, first.classes)
    assert second.path == tmp_path / "moved"
    assert source.reads == 1
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="exclude each other"):
        prepare(replace(given, train="train.csv"), WORDS)
    (tmp_path / "moved" / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"moved.*tokenizer\.json"):
        prepare(given, WORDS)


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"source": "other"}, {}),
    ({"validation_fraction": 0.2}, {}),
    ({"validation_cut": "last"}, {}),
    ({"seed": 1}, {}),
    ({"keep_duplicates": True}, {}),
    ({"text_column": "review"}, {}),
    ({"label_column": "class"}, {}),
    ({}, {"kind": "bpe"}),
    ({}, {"lowercase": True}),
    ({}, {"max_vocabulary": 300}),
    ({}, {"min_documents": 2}),
    ({}, {"unknown": "drop"}),
]


@pytest.mark.parametrize(("data_changes", "tokenizer_changes"), CHANGES)
def test_settings_that_matter_make_another_store(
    source: Source, data: DataSettings, data_changes: dict[str, Any], tokenizer_changes: dict[str, Any]
) -> None:
    first = prepare(data, WORDS)
    second = prepare(replace(data, **data_changes), replace(WORDS, **tokenizer_changes))
    assert second.fingerprint != first.fingerprint
    assert second.path != first.path
    assert len(stores(data)) == 2


def test_the_manifest_says_what_the_store_is(source: Source, data: DataSettings) -> None:
    manifest = json.loads((prepare(data, WORDS).path / "manifest.json").read_text())
    assert manifest["source"] == {"source": "s"}
    assert manifest["settings"]["tokenizer"]["kind"] == "word"
    assert manifest["counts"]["train"] == {"documents": 4, "tokens": 11}
    assert manifest["files"]["train.tokens"]["size"] == 22


def test_a_damaged_store_is_built_again(source: Source, data: DataSettings, capsys: pytest.CaptureFixture[str]) -> None:
    first = prepare(data, WORDS)
    good = (first.path / "train.tokens").read_bytes()
    (first.path / "train.tokens").write_bytes(bytes(len(good)))
    capsys.readouterr()
    again = prepare(data, WORDS)
    assert source.reads == 2
    assert (again.path / "train.tokens").read_bytes() == good
    lines = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert lines == [f"{first.path / 'train.tokens'} is damaged: its sha256 is wrong; preparing it again"]
    assert stores(data) == [first.path.name]


def test_a_store_under_a_wrong_name_is_not_taken(source: Source, data: DataSettings) -> None:
    first = prepare(data, WORDS)
    other = prepare(replace(data, seed=1), WORDS)
    shutil.rmtree(first.path)
    shutil.copytree(other.path, first.path)
    assert prepare(data, WORDS).fingerprint == first.fingerprint
    assert source.reads == 3


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_not_finished_leaves_nothing(
    source: Source, data: DataSettings, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(writer: StoreWriter, **keywords: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "finish", fail)
        with pytest.raises((InputError, KeyboardInterrupt), match=r"No space left|^$"):
            prepare(data, WORDS)
    assert stores(data) == []
    assert len(prepare(data, WORDS).splits["train"]) == 4


def test_a_cache_that_cannot_be_written(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data = DataSettings(source="s", cache=str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"--data.cache .*file: cannot write: Not a directory"):
        prepare(data, WORDS)
    assert source.reads == 0  # said before the long work


@pytest.mark.parametrize("texts", [[], ["", "!"], ["one", "two"]])
def test_training_text_without_known_words(source: Source, data: DataSettings, texts: list[str]) -> None:
    splits = source.content.splits | {"train": Rows(texts, [0] * len(texts)), "unlabeled": Rows([], [])}
    source.content = replace(source.content, splits=splits)
    with pytest.raises(InputError, match="no document with a known word"):
        prepare(data, TokenizerSettings(min_documents=2, unknown="drop"))
    assert stores(data) == []


def test_texts_of_a_given_validation_file_are_not_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(name: str, *rows: str) -> str:
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(f"{row}\n" for row in rows))
        return str(tmp_path / f"{name}.csv")

    train = write("train", *(f"{word} film {i},{word}" for i in range(6) for word in ("good", "bad")))
    validation = write("validation", "good film 0,good", "bad film 1,bad", "a fine one,good", "seen before,bad")
    test = write("test", "bad film 2,bad")
    unlabeled = write("unlabeled", "seen before,", "never seen,")
    data = DataSettings(train=train, cache=str(tmp_path / "cache"))
    data = replace(data, validation=validation, test=test, unlabeled=unlabeled)
    store = prepare(data, WORDS)
    line = "textadv: 3 training and 1 unlabeled texts stand in validation or test too; removed"
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("textadv")]
    assert lines == [f"{line} (--data.keep_duplicates true keeps them)"]
    assert {name: len(split) for name, split in store.splits.items()} == {
        "train": 9, "unlabeled": 1, "validation": 4, "test": 1,
    }  # fmt: skip
    prepare(data, WORDS)  # found
    kept = prepare(replace(data, keep_duplicates=True), WORDS)
    assert (len(kept.splits["train"]), len(kept.splits["unlabeled"])) == (12, 2)
    assert kept.report["validation_duplicates_in_train"] == store.report["validation_duplicates_in_train"] == 2
    assert "textadv:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"source": "s"}, "2032d520de0dd9f7"),
        ({"train": "a", "validation": "b"}, "f17f75a7ee197e9c"),
        ({"train-00000-of-00001.parquet": "a", "validation-00000-of-00001.parquet": "b"}, "73d802c858f86574"),
    ],
)
def test_names_of_stores_change_on_purpose_only(
    source: Source, data: DataSettings, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], name: str
) -> None:
    """Encoders that took hours are found by them."""
    monkeypatch.setattr(preparation, "source_identity", lambda settings: files)
    assert prepare(data, TokenizerSettings()).path.name == name
