"""Small fixtures shared by the tests of several folders."""

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import EXAMPLE

from textadv.corpus.store import Split, TokenStore
from textadv.settings import (
    Experiment,
    FinetuningSettings,
    ModelSettings,
    PretrainingSettings,
    TrainerSettings,
)

EOS = 2

if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core: threads would only wait for each other
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start


@pytest.fixture(autouse=True, scope="module")
def subnormal_numbers() -> None:
    """A command that ran in this process leaves them flushed to zero, and hypothesis generates them."""
    torch.set_flush_denormal(False)


@pytest.fixture
def make_split() -> Callable[..., Split]:
    """Build a split in memory whose documents have the given lengths and whose words are all different."""

    def make(lengths: Sequence[int], labels: Sequence[int] | None = None, first_word: int = 3) -> Split:
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        tokens = np.arange(first_word, first_word + offsets[-1], dtype=np.uint16)
        tokens[offsets[1:] - 1] = EOS
        return Split(tokens, offsets, np.full(len(lengths), -1) if labels is None else np.array(labels, np.int64))

    return make


@pytest.fixture
def make_store(make_split: Callable[..., Split]) -> Callable[..., TokenStore]:
    """Build a store in memory: two classes, 12 labeled documents, 4 validation, 4 test, and unlabeled as told."""

    def make(unlabeled: int = 8) -> TokenStore:
        both = [0, 1]
        splits = {
            "train": make_split([4, 9, 1, 7, 3, 8, 6, 2, 5, 9, 4, 7], both * 6, first_word=3),
            "unlabeled": make_split([6, 3, 1, 8, 5, 4, 7, 2][:unlabeled], first_word=100),
            "validation": make_split([5, 2, 7, 1], both * 2, first_word=200),
            "test": make_split([3, 6, 1, 4], both * 2, first_word=250),
        }
        words = np.concatenate([splits[name].tokens for name in ("train", "unlabeled")])
        return TokenStore(
            path=Path("in-memory"),
            fingerprint="store",
            tokenizer_fingerprint="tokenizer",
            classes=("neg", "pos"),
            vocabulary_size=300,
            frequencies=np.bincount(words, minlength=300).astype(np.float64),
            tokenizer_json="{}",
            splits=splits,
            report={},
        )

    return make


@pytest.fixture
def store(make_store: Callable[..., TokenStore]) -> TokenStore:
    return make_store()


@pytest.fixture
def experiment() -> Experiment:
    """Tiny sizes; every kind of step runs in milliseconds."""
    return Experiment(
        model=ModelSettings(embedding_size=5, hidden_size=6, pooling="last_mean_max", head_size=4),
        pretraining=PretrainingSettings(
            steps=6, batch_size=3, window=4, candidates=20, dropout=0.2, learning_rate=0.01, validate_every=3
        ),
        finetuning=FinetuningSettings(
            epsilon=0.5, steps=6, batch_size=4, unlabeled_batch_size=5, window=4, dropout=0.3, validate_every=3
        ),
        trainer=TrainerSettings(accelerator="cpu"),
    )


@pytest.fixture
def with_finetuning(experiment: Experiment) -> Callable[..., Experiment]:
    def change(**settings: object) -> Experiment:
        return replace(experiment, finetuning=replace(experiment.finetuning, **settings))

    return change


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install a package with the example's encoder, and lines of further entry points."""

    def installed(more: str = "") -> None:
        site = tmp_path / "site"
        information = site / "somebodys-1.0.dist-info"
        information.mkdir(parents=True)
        shutil.copy(EXAMPLE, site / "somebodys.py")
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
        lines = f"[textadv.encoders]\nconvolutions = somebodys:Convolutions\n{more}"
        (information / "entry_points.txt").write_text(lines)
        monkeypatch.delitem(sys.modules, "somebodys", raising=False)
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()

    return installed
