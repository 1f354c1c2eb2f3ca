import os
import sys
import tarfile
import types

import datasets
import pytest

from textadv.corpus.sources import load_corpus, source_identity
from textadv.errors import InputError
from textadv.settings import DataSettings

REVIEWS = {
    "train/neg": ["bad film", "dull, dull", "poor\r\nplot", "naïve", "in both"],
    "train/pos": ["good film", "bright", "rich\nplot", "NA", "in both too"],
    "train/unsup": ["some film", "good film", "shared with test"],
    "test/neg": ["weak", "in both"],
    "test/pos": ["strong", "shared with test"],
}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "extracted" / "aclImdb"
    for part, texts in REVIEWS.items():
        (root / part).mkdir(parents=True)
        for number, text in enumerate(texts):
            (root / part / f"{number}_1.txt").write_bytes(text.encode())
    (root / "train" / "urls_pos.txt").write_text("not a review")
    (root / "train" / "pos" / "._0_1.txt").write_text("not a review")
    return root


@pytest.fixture
def archive(tmp_path, folder):
    path = tmp_path / "aclImdb_v1.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, "aclImdb")
    return path


@pytest.fixture
def parquet(tmp_path):
    place = tmp_path / "parquet" / "plain_text"
    place.mkdir(parents=True)
    names = ["neg", "pos"]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    shards = {
        "train-00000-of-00002": [("train/pos", 1)],  # the other way round than in the folder
        "train-00001-of-00002": [("train/neg", 0)],
        "unsupervised-00000-of-00001": [("train/unsup", -1)],
        "test-00000-of-00001": [("test/pos", 1), ("test/neg", 0)],
    }
    for shard, parts in shards.items():
        rows = [(text, label) for part, label in parts for text in REVIEWS[part]]
        columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(place / f"{shard}.parquet")
    return place


def load(source, **others):
    return load_corpus(DataSettings(source=str(source), **others))


def test_parquet_folder_and_archive_give_the_same_corpus(parquet, folder, archive):
    corpus = load(parquet)
    assert corpus == load(parquet.parent) == load(folder) == load(folder.parent) == load(archive)
    assert corpus.classes == ("neg", "pos")
    assert list(corpus.splits) == ["train", "unlabeled", "validation", "test"]
    assert {name: len(rows.texts) for name, rows in corpus.splits.items()} == {
        "train": 7, "unlabeled": 2, "validation": 2, "test": 4,
    }  # fmt: skip
    labeled = {
        (text, label)
        for name in ("train", "validation")
        for text, label in zip(corpus.splits[name].texts, corpus.splits[name].labels, strict=True)
    }
    assert labeled == {(t, i) for i, p in enumerate(("train/neg", "train/pos")) for t in REVIEWS[p]} - {("in both", 0)}
    assert corpus.report["test_duplicates_in_train"] == corpus.report["test_duplicates_in_unlabeled"] == 1
    assert corpus.report["train_duplicates_in_unlabeled"] == 1


def test_settings_reach_the_splits(folder):
    assert load(folder, seed=1) != load(folder)
    assert len(load(folder, validation_fraction=0.5).splits["validation"].texts) == 4
    assert len(load(folder, keep_duplicates=True).splits["unlabeled"].texts) == 3


def test_csv_and_jsonl_files_with_any_column_names(tmp_path):
    (tmp_path / "train.csv").write_text("body,stars\ngood,5\nbad,1\nfine,5\npoor,1\nunknown,\n")
    (tmp_path / "more.csv").write_text("body\nso so\n")
    (tmp_path / "valid.jsonl").write_text('{"body": "great", "stars": 5}\n')
    (tmp_path / "test.jsonl").write_text('{"body": "awful", "stars": 1}\n')
    names = {"train": "train.csv", "unlabeled": "more.csv", "validation": "valid.jsonl", "test": "test.jsonl"}
    paths = {flag: str(tmp_path / name) for flag, name in names.items()}
    settings = DataSettings(**paths, text_column="body", label_column="stars")
    corpus = load_corpus(settings)
    assert corpus.classes == ("1", "5")
    assert corpus.splits["train"].labels == [0, 1, 1, 0]
    assert corpus.splits["unlabeled"].texts == ["so so", "unknown"]
    assert (corpus.splits["validation"].labels, corpus.splits["test"].labels) == ([1], [0])
    assert set(source_identity(settings)) == set(names)


def test_builtin_gets_the_seed(monkeypatch):
    module = types.ModuleType("builtin")
    module.build_corpus = lambda seed: f"corpus {seed}"
    monkeypatch.setitem(sys.modules, "textadv.corpus.builtin", module)
    monkeypatch.setattr("textadv.corpus.builtin", module, raising=False)
    assert load("builtin", seed=7) == "corpus 7"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "--data.source, or --data.train"),
        ({"test": "test.csv"}, "--data.source, or --data.train"),
        ({"source": "builtin", "train": "a.csv", "test": "b.csv"}, "--data.train, --data.test exclude each other"),
        ({"source": "no-such-thing"}, "--data.source no-such-thing: no such file or folder"),
        ({"source": "no/such/folder"}, "no such file or folder"),
        ({"source": "../folder"}, "no such file or folder"),
        ({"source": "no/such.tar.gz"}, "no such file or folder"),
        ({"train": "gone.csv"}, r"gone\.csv: no such file"),
        ({"train": "gone.csv", "text_column": "label"}, "both name 'label'"),
        ({"source": "builtin", "seed": -1}, "--data.seed -1"),
    ],
)
def test_settings_that_name_no_corpus_are_refused(settings, reason):
    for function in (load_corpus, source_identity):
        with pytest.raises(InputError, match=reason):
            function(DataSettings(**settings))


def test_files_that_are_no_source_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n")
    with pytest.raises(InputError, match=r"a\.csv: not a \.tar\.gz.*--data\.train"):
        load(tmp_path / "a.csv")
    with pytest.raises(InputError, match="neither an aclImdb folder nor one of parquet files"):
        load(tmp_path)


def test_incomplete_parquet_folders_are_refused(parquet):
    (parquet / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match="not the complete set"):
        load(parquet)
    (parquet / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(InputError, match="no parquet file of the split 'train'"):
        load(parquet)


def test_several_configurations_in_one_parquet_folder_are_refused(parquet):
    other = parquet.with_name("other")
    other.mkdir()
    (other / "train.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="in several places"):
        load(parquet.parent)


def test_identity_follows_the_content(parquet, folder, archive):
    for source, file in (
        (parquet, parquet / "test-00000-of-00001.parquet"),
        (folder, folder / "test" / "pos" / "0_1.txt"),
        (archive, archive),
    ):
        settings = DataSettings(source=str(source))
        before = source_identity(settings)
        assert before == source_identity(settings)
        status = file.stat()
        file.write_bytes(file.read_bytes() + b"!")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert source_identity(settings) != before


def test_identity_of_a_hub_data_set_needs_no_network():
    assert source_identity(DataSettings(source="owner/name")) == {"hub": "owner/name"}
