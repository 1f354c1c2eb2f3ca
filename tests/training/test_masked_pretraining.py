"""Masked language modelling of a tiny Transformer on a tiny corpus."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import BAD, GOOD, sentence, write_rows
from readers import curves, equal, tensors

pytest.importorskip("transformers", reason="the extra textadv[transformers] is not installed")

from tiny_transformers import write_pretrained

from textadv.checkpoints import LAST, load_file
from textadv.commands.shared import prepared
from textadv.corpus.store import TokenStore
from textadv.settings import DataSettings, Experiment, ModelSettings, PretrainingSettings, TokenizerSettings
from textadv.training import runs
from textadv.training.encoders import initial_encoder

SETTINGS = {"steps": 4, "batch_size": 5, "learning_rate": 0.01, "validate_every": 2}


@pytest.fixture
def prepare(experiment: Experiment, tmp_path: Path) -> Callable[..., tuple[Experiment, TokenStore]]:
    """An experiment with a pretrained Transformer and a prepared corpus of 23 training and 3 validation rows."""

    def make(precision: Any = "32-true", **changes: Any) -> tuple[Experiment, TokenStore]:
        share = 0.2 if precision == "32-true" else 0.0
        dropout = {"hidden_dropout_prob": share, "attention_probs_dropout_prob": share}
        folder = write_pretrained(tmp_path / "pretrained", **dropout)
        rows = [(sentence(i, words), name) for i in range(13) for words, name in ((GOOD, "happy"), (BAD, "sad"))]
        data = DataSettings(
            train=write_rows(tmp_path / "train.csv", rows),
            text_column="review",
            label_column="mood",
            cache=str(tmp_path / "cache"),
        )
        given = Experiment(
            data,
            TokenizerSettings(max_tokens=20),
            ModelSettings("transformer", str(folder), frozen_layers=1),
            PretrainingSettings(**(SETTINGS | changes)),
            replace(experiment.finetuning, method="none"),
            replace(experiment.trainer, precision=precision),
        )
        return prepared(given)

    return make


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LOG_EVERY", 1)


def column(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in curves(folder) if row[name]]


def assert_same_end(*folders: Path) -> None:
    """The same curves and the same last checkpoint, to the bit."""
    assert curves(folders[0]) == curves(folders[1])
    whole, broken = (tensors(folder / LAST) for folder in folders)
    assert equal(whole, broken)


def test_it_learns(prepare: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All layers do, and fine-tuning starts from what they have learned."""
    experiment, store = prepare(steps=50, validate_every=2)
    figures = runs.pretrain(experiment, store, tmp_path / "run")
    assert "has no head for masked language modelling" in capsys.readouterr().err
    perplexities = column(tmp_path / "run", "validation_perplexity")
    assert figures["validation_perplexity"] == pytest.approx(perplexities[-1])
    assert perplexities[-1] < 0.7 * perplexities[0]
    fresh, learned = (initial_encoder(experiment, store, p).state_dict() for p in (None, tmp_path / "run" / LAST))
    trained = load_file(tmp_path / "run" / LAST)["state_dict"]
    assert all(torch.equal(value, trained[f"model.encoder.{name}"]) for name, value in learned.items())
    same = {name for name in fresh if torch.equal(fresh[name], learned[name])}
    assert {name for name in same if "embeddings.position" not in name} <= {"frequencies", "is_special"}


def test_a_resumed_run_is_an_undisturbed_one_to_the_bit(prepare: Any, tmp_path: Path) -> None:
    experiment, store = prepare()
    runs.pretrain(experiment, store, tmp_path / "whole")
    runs.pretrain(experiment, store, tmp_path / "broken")
    before = tmp_path / "broken" / "previous.ckpt"
    assert load_file(before)["global_step"] == 2
    runs.pretrain(experiment, store, tmp_path / "broken", before)
    assert_same_end(tmp_path / "whole", tmp_path / "broken")


def test_masks_of_validation_are_fixed_and_those_of_training_are_not(prepare: Any, tmp_path: Path) -> None:
    experiment, store = prepare("64-true", steps=6, batch_size=100, learning_rate=0.0)
    runs.pretrain(experiment, store, tmp_path)
    assert len(column(tmp_path, "validation_perplexity")) == 3
    assert len(set(column(tmp_path, "validation_perplexity"))) == 1
    assert len(set(column(tmp_path, "loss"))) == 6


def test_a_batch_in_which_nothing_is_hidden(prepare: Any, tmp_path: Path) -> None:
    """Of a single short document, mostly."""
    experiment, store = prepare(steps=12, batch_size=1)
    runs.pretrain(experiment, store, tmp_path)
    assert 0.0 in column(tmp_path, "loss")
    assert max(column(tmp_path, "loss")) > 1.0


def test_two_processes_compute_what_one_does(prepare: Any, tmp_path: Path, train_together: Callable[..., Any]) -> None:
    """Without dropout; batches of 5 or 4 documents, which two ranks cannot divide evenly."""
    experiment, store = prepare("64-true", steps=6, warmup_steps=2)
    (one,) = train_together(1, ("one", "pretrain", experiment, store, tmp_path / "one", None))
    two = train_together(2, ("two", "pretrain", experiment, store, tmp_path / "two", None))
    assert [one.code, *(rank.code for rank in two)] == [0, 0, 0]
    expected = one.outcomes[0]
    assert len(set(expected.losses())) == 6
    for rank in two:
        for row, wanted in zip(rank.outcomes[0].logged, expected.logged, strict=True):
            assert row == pytest.approx(wanted, rel=0, abs=1e-8)


def test_two_stopped_processes_go_on_exactly(prepare: Any, tmp_path: Path, train_together: Callable[..., Any]) -> None:
    """The signal comes in a step after which no validation is due."""
    experiment, store = prepare(steps=5)
    job = ("job", "pretrain", experiment, store)
    whole = train_together(2, (*job, tmp_path / "whole", None))
    fault = {"rank": 1, "place": "training_step", "step": 2, "act": "SIGTERM"}
    stopped = train_together(2, (*job, tmp_path / "broken", None), **fault)
    assert [rank.code for rank in (*whole, *stopped)] == [0, 0, 143, 143]
    last = tmp_path / "broken" / LAST
    assert load_file(last)["global_step"] == 3
    rest = train_together(2, (*job, tmp_path / "broken", last))
    assert [rank.code for rank in rest] == [0, 0]
    assert rest[0].outcomes[0].losses() == whole[0].outcomes[0].losses()[3:]
    assert_same_end(tmp_path / "whole", tmp_path / "broken")
