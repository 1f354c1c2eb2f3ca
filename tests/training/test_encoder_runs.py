"""Whole runs of fine-tuning with every encoder: resumed ones, and those on two processes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import BAD, GOOD, sentence, write_rows
from encoders import ONE_OF_EACH, OWN, RECURRENT, TRANSFORMERS, model_settings
from readers import curves, equal, tensors

from textadv.checkpoints import LAST, load_classifier, load_file, newest_intact
from textadv.commands.shared import prepared
from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.store import TokenStore
from textadv.settings import DataSettings, Experiment, FinetuningSettings, ModelSettings, TokenizerSettings
from textadv.training import runs
from textadv.training.base import TrainingModule
from textadv.training.probe import fit_probe, read_features

STEPS = 7
Prepare = Callable[..., tuple[Experiment, TokenStore]]


class Killed(BaseException):
    """Ends a run as a kill does: nobody catches it to tidy up."""


@pytest.fixture
def prepare(experiment: Experiment, tmp_path: Path, install: Callable[[], None]) -> Prepare:
    """An experiment with an encoder, and its corpus: 12 labeled, 11 unlabeled and 3 validation rows."""
    install()
    rows = [(sentence(i, words), name) for i in range(13) for words, name in ((GOOD, "happy"), (BAD, "sad"))]
    train = write_rows(tmp_path / "train.csv", rows)
    data = DataSettings(train=train, text_column="review", label_column="mood", cache=str(tmp_path / "cache"))

    def make(name: str, dropout: float, precision: Any) -> tuple[Experiment, TokenStore]:
        tokenizer, model = TokenizerSettings(min_documents=1), model_settings(OWN)
        if name in RECURRENT:
            model = model_settings(name)
        elif name == OWN:
            model = replace(model, encoder=OWN)
        else:
            from tiny_transformers import write_pretrained

            folder = tmp_path / f"pretrained, {dropout}"
            write_pretrained(folder, name, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
            tokenizer, model = TokenizerSettings(max_tokens=20), ModelSettings("transformer", str(folder))
        sizes = {"batch_size": 3, "unlabeled_batch_size": 3, "steps": STEPS, "validate_every": 2}
        finetuning = FinetuningSettings(epsilon=0.5, learning_rate=0.01, dropout=dropout, **sizes)  # type: ignore[arg-type]
        trainer = replace(experiment.trainer, precision=precision)
        few = replace(data, labels_per_class=6)
        return prepared(Experiment(few, tokenizer, model, finetuning=finetuning, trainer=trainer))

    return make


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_resumed_run_is_an_undisturbed_one_to_the_bit(
    name: str, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LOG_EVERY", 1)
    experiment, store = prepare(name, 0.2, "32-true")
    runs.finetune(experiment, store, tmp_path / "whole", None)

    def killed(module: TrainingModule, loss: Any) -> None:
        if module.global_step == 5:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "on_before_backward", killed)
        with pytest.raises(Killed):
            runs.finetune(experiment, store, tmp_path / "broken", None)
    checkpoint, damaged = newest_intact(tmp_path / "broken")
    assert checkpoint is not None
    assert damaged == []
    assert load_file(checkpoint)["global_step"] == 4
    runs.finetune(experiment, store, tmp_path / "broken", None, checkpoint)
    assert curves(tmp_path / "whole") == curves(tmp_path / "broken")
    whole, broken = (tensors(tmp_path / folder / LAST) for folder in ("whole", "broken"))
    assert {"state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step"} <= whole.keys()
    assert equal(whole, broken)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_linear_head_may_start_as_a_probe(name: str, prepare: Prepare, tmp_path: Path) -> None:
    """Of the encoder as it is before the first step, which is all that there is to it here."""
    experiment, store = prepare(name, 0.2, "32-true")
    settings = replace(experiment.finetuning, head_start="probe", steps=1, learning_rate=0.0)
    runs.finetune(
        replace(experiment, finetuning=settings, model=replace(experiment.model, head_size=0)), store, tmp_path, None
    )
    classifier = load_classifier(tmp_path).classifier
    data = FinetuningData(store, experiment.data, settings, 0)
    rows, documents = data.labeled.indices, data.labeled.documents
    features = read_features(classifier.encoder, documents, rows, "cpu")
    weight, bias = fit_probe(features, torch.from_numpy(documents.labels[rows]), len(store.classes))
    torch.testing.assert_close(classifier.head(features), (features @ weight.float().T + bias.float()))


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_micro_batches_compute_what_whole_ones_do(
    name: str, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout of a Transformer, whose masks are drawn for whole batches."""
    monkeypatch.setattr(runs, "LOG_EVERY", 1)
    experiment, store = prepare(name, 0.0 if name in TRANSFORMERS else 0.2, "64-true")
    losses = []
    for parts in (1, 2):
        changed = replace(experiment, finetuning=replace(experiment.finetuning, micro_batches=parts))
        runs.finetune(changed, store, tmp_path / f"{parts}", None)
        losses.append([float(row["loss"]) for row in curves(tmp_path / f"{parts}") if row["loss"]])
    assert len(set(losses[0])) == STEPS
    assert losses[1] == pytest.approx(losses[0], rel=0, abs=1e-8)
    assert losses[1] != losses[0]  # sums in another order


@pytest.mark.parametrize(
    "names", [ONE_OF_EACH[1:-1], pytest.param(ONE_OF_EACH[-1:], marks=pytest.mark.slow)], ids=", ".join
)
def test_two_processes_compute_what_one_does(
    names: tuple[str, ...], prepare: Prepare, tmp_path: Path, train_together: Callable[..., Any]
) -> None:
    """Without dropout of a Transformer, whose masks are drawn for whole batches."""
    jobs = [(name, *prepare(name, 0.0 if name in TRANSFORMERS else 0.2, "64-true")) for name in names]

    def trained(ranks: int) -> list[Any]:
        folder = tmp_path / f"{ranks} processes"
        given = [(name, "finetune", *parts, folder / name, None) for name, *parts in jobs]
        return train_together(ranks, *given)

    (one,), two = trained(1), trained(2)
    assert [one.code, *(rank.code for rank in two)] == [0, 0, 0]
    assert [outcome.name for outcome in one.outcomes] == list(names)
    for expected, *found in zip(one.outcomes, *(rank.outcomes for rank in two), strict=True):
        assert len(set(expected.losses())) == STEPS
        for outcome in found:
            for row, wanted in zip(outcome.logged, expected.logged, strict=True):
                assert row == pytest.approx(wanted, rel=0, abs=1e-8), (outcome.name, row, wanted)
