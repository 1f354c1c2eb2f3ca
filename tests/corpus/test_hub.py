import json
import threading
import time

import datasets
import huggingface_hub
import pytest

from textadv.corpus.sources import load_corpus
from textadv.errors import InputError
from textadv.settings import DataSettings
from textadv.system import network

FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
SPLITS = datasets.DatasetDict(
    {
        "train": datasets.Dataset.from_dict(
            {"text": [f"review {i}" for i in range(10)], "label": [i % 2 for i in range(10)]}, features=FEATURES
        ),
        "test": datasets.Dataset.from_dict({"text": ["fine"], "label": [1]}, features=FEATURES),
        "unsupervised": datasets.Dataset.from_dict({"text": ["so so"], "label": [-1]}, features=FEATURES),
        "extra": datasets.Dataset.from_dict({"text": ["other"], "label": [0]}, features=FEATURES),
    }
)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def answer(monkeypatch, reply):
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", reply)


def load():
    return load_corpus(DataSettings(source="owner/reviews"))


def assert_splits(corpus):
    assert corpus.classes == ("neg", "pos")
    assert {name: len(rows.texts) for name, rows in corpus.splits.items()} == {
        "train": 8, "unlabeled": 1, "validation": 2, "test": 1,
    }  # fmt: skip
    assert corpus.splits["unlabeled"].texts == ["so so"]


def test_a_data_set_of_the_hub_comes_in_four_splits(monkeypatch):
    answer(monkeypatch, lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", {"owner/reviews": SPLITS}.__getitem__)
    assert_splits(load())


def test_a_cached_data_set_needs_no_network(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("asked the Hub")

    answer(monkeypatch, fail)
    files = {name: str(tmp_path / f"{name}.parquet") for name in SPLITS}
    for name, path in files.items():
        SPLITS[name].to_parquet(path)
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "built"))
    (built,) = (tmp_path / "built" / "parquet").glob("*/*/*/dataset_info.json")
    cached = tmp_path / "datasets" / "owner___reviews" / "default" / "0.0.0" / built.parent.name
    cached.parent.mkdir(parents=True)
    built.parent.rename(cached)
    for file in cached.glob("parquet-*"):
        file.rename(cached / file.name.replace("parquet-", "reviews-", 1))
    info = json.loads((cached / built.name).read_text()) | {"config_name": "default", "dataset_name": "reviews"}
    (cached / built.name).write_text(json.dumps(info))
    assert_splits(load())


def test_an_unreachable_hub_names_the_local_alternatives(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no route to host")

    answer(monkeypatch, refuse)
    with pytest.raises(InputError, match=r"cannot be reached.*parquet.*aclImdb.*tar\.gz.*CSV.*JSONL") as error:
        load()
    assert "owner/reviews" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_silent_hub_is_given_up_on_in_time(monkeypatch):
    done = threading.Event()
    answer(monkeypatch, lambda *_, **__: done.wait(60))
    assert network.REACH_SECONDS <= 20
    monkeypatch.setattr(network, "REACH_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(InputError, match="cannot be reached"):
        load()
    assert time.monotonic() - start < 30
    done.set()


def test_an_unknown_name_is_told_from_an_unreachable_hub(monkeypatch):
    class Missing(huggingface_hub.errors.RepositoryNotFoundError):
        def __init__(self):
            pass

    def refuse(*_, **__):
        raise Missing

    answer(monkeypatch, refuse)
    with pytest.raises(InputError, match=r"owner/reviews: .*no such data set"):
        load()


def test_a_failing_download_is_one_line(monkeypatch):
    def fail(_):
        raise ValueError("first line\nsecond line")

    answer(monkeypatch, lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(InputError, match=r"cannot be loaded from the Hub \(first line second line\)"):
        load()
