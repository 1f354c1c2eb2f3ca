"""How long a training will take: counted right, and nothing that a run depends on is touched."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from textadv.corpus.datamodules import FinetuningData, PretrainingData
from textadv.corpus.store import TokenStore
from textadv.errors import Stopped
from textadv.settings import Experiment
from textadv.training import estimates, runs
from textadv.training.base import TrainingModule

STAGES: dict[str, Callable[[Experiment, TokenStore], float]] = {
    "pretraining": estimates.pretraining_seconds,
    "finetuning": estimates.finetuning_seconds,
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "SECONDS", 0.01)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("steps", [1, 30, 1000])
def test_all_tokens_and_validations_are_counted(
    stage: str, steps: int, experiment: Experiment, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that goes on by one second for each step that is measured, and for the validation."""
    clock = count()
    monkeypatch.setattr(estimates, "_now", lambda device: float(next(clock)))
    changed = replace(getattr(experiment, stage), steps=steps, validate_every=7)
    experiment = replace(experiment, **{stage: changed})
    data: PretrainingData | FinetuningData
    if stage == "pretraining":
        data = PretrainingData(store, experiment.model, experiment.pretraining, 0)
    else:
        data = FinetuningData(store, experiment.data, experiment.finetuning, 0)

    def tokens(numbers: range) -> int:
        return sum(one.tokens for step in numbers for one in data.global_batch(step).values())

    first = estimates.FIRST_STEPS
    per_token = estimates.LEAST_STEPS / tokens(range(first, first + estimates.LEAST_STEPS))
    batches = len(data.val_dataloader())
    validation = batches / min(batches, estimates.VALIDATION_BATCHES) * -(-steps // 7)
    sample = range(0, steps, -(-steps // estimates.SAMPLED_STEPS))
    expected = per_token * tokens(sample) / len(sample) * steps + validation
    assert STAGES[stage](experiment, store) == pytest.approx(expected)


def test_what_is_read_before_the_first_step_is_counted(
    experiment: Experiment, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that goes on by one second for each thing that is measured."""
    monkeypatch.setattr(estimates, "SAMPLED_TEXTS", 4)

    def seconds(**changes: Any) -> float:
        clock = count()
        monkeypatch.setattr(estimates, "_now", lambda device: float(next(clock)))
        settings = replace(experiment.finetuning, **changes)
        linear = replace(experiment.model, head_size=0)
        return estimates.finetuning_seconds(replace(experiment, finetuning=settings, model=linear), store)

    data = FinetuningData(store, experiment.data, experiment.finetuning, 0)
    assert data.unlabeled is not None
    rows, lengths = data.unlabeled.first(experiment.finetuning.steps), data.unlabeled.documents.lengths
    sample = rows[:: -(-len(rows) // 4)]
    assert 1 < len(sample) < len(rows)
    found = seconds(teacher_share=0.5, pseudo_label_weight=1.0) - seconds(pseudo_label_weight=1.0)
    assert found == pytest.approx(lengths[rows].sum() / lengths[sample].sum())
    rows, lengths = data.labeled.indices, data.labeled.documents.lengths
    sample = rows[:: -(-len(rows) // 4)]
    assert 1 < len(sample) < len(rows)
    found = seconds(head_start="probe") - seconds()
    assert found == pytest.approx(lengths[rows].sum() / lengths[sample].sum())


def test_a_run_is_the_same_after_it_was_measured(experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    """To the bit, and the folder holds nothing else."""

    def outcome(folder: Path) -> tuple[dict[str, float], ...]:
        pretrained = runs.pretrain(experiment, store, folder / "p")
        return (
            pretrained["metrics"],
            runs.finetune(experiment, store, folder / "f", Path(pretrained["checkpoint"]))["metrics"],
        )

    before = outcome(tmp_path / "before")
    files = set(tmp_path.rglob("*")) | set(Path().iterdir())
    for seconds in STAGES.values():
        assert seconds(experiment, store) > 0
    assert set(tmp_path.rglob("*")) | set(Path().iterdir()) == files
    assert outcome(tmp_path / "after") == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_measurement(
    number: signal.Signals, experiment: Experiment, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its exit code, and whoever listened before listens again."""
    handlers = [signal.getsignal(one) for one in estimates.SIGNALS]
    original = TrainingModule.on_before_backward

    def killed(module: TrainingModule, loss: Tensor) -> Any:
        if module.global_step == 1:
            os.kill(os.getpid(), number)
        return original(module, loss)

    monkeypatch.setattr(TrainingModule, "on_before_backward", killed)
    with pytest.raises(Stopped) as stop:
        estimates.finetuning_seconds(experiment, store)
    assert stop.value.code == 128 + number
    assert [signal.getsignal(one) for one in estimates.SIGNALS] == handlers
