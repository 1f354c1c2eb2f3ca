"""What is not finite stops the run before it ruins the weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from textadv.checkpoints import LAST, load_file
from textadv.corpus.datamodules import FinetuningData, PretrainingData
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import Experiment
from textadv.training import guards, runs
from textadv.training.base import TrainingModule
from textadv.training.finetuning import FinetuningModule
from textadv.training.guards import FiniteGuard, any_rank
from textadv.training.pretraining import PretrainingModule


class Poison:
    """Makes a loss or a gradient non-finite in one step, and keeps the weights that the step began with."""

    def __init__(self, patch: pytest.MonkeyPatch, kind: type[TrainingModule], step: int, target: str) -> None:
        self.weights: dict[str, Tensor] = {}
        self.module: TrainingModule | None = None
        original = kind.training_step  # type: ignore[attr-defined]

        def training_step(module: TrainingModule, *arguments: object) -> Tensor:
            loss: Tensor = original(module, *arguments)
            if module.global_step + 1 != step:
                return loss
            self.module = module
            self.weights = {name: value.clone() for name, value in module.state_dict().items()}
            if target == "loss":
                return loss * float("nan")
            weight = dict(module.named_parameters())[target]
            weight.register_hook(lambda gradient: gradient / 0.0)
            return loss

        patch.setattr(kind, "training_step", training_step)

    def untouched(self) -> bool:
        """Whether the step has changed no weight."""
        assert self.module is not None
        return all(torch.equal(value, self.weights[name]) for name, value in self.module.state_dict().items())


TARGETS = ["loss", "model.encoder.directions.0.weight_hh_l0", "model.encoder.embedding.weight"]


@pytest.mark.parametrize("target", TARGETS)
def test_finetuning_stops(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    poison = Poison(monkeypatch, FinetuningModule, 5, target)
    with pytest.raises(InputError) as error:
        runs.finetune(experiment, store, tmp_path, None)
    line = str(error.value)
    assert "\n" not in line
    assert "before step 5 changed any weight" in line
    assert f"the {'loss' if target == 'loss' else 'gradient'} is not finite" in line
    data = FinetuningData(store, experiment.data, experiment.finetuning, experiment.seed)
    assert line.endswith(f"Batch: {data.describe(4)}")
    assert poison.untouched()
    assert load_file(tmp_path / LAST)["global_step"] == 3


def test_pretraining_stops(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = Poison(monkeypatch, PretrainingModule, 4, "loss")
    with pytest.raises(InputError, match=r"step 4 .* loss is not finite.* epoch 0, window 3: tokens 12 to 15 of lanes"):
        runs.pretrain(experiment, store, tmp_path)
    assert poison.untouched()


def test_batches_are_found_again_by_their_description(
    make_store: Callable[..., TokenStore], experiment: Experiment
) -> None:
    store = make_store()
    data = FinetuningData(
        store, replace(experiment.data, labels_per_class=3), replace(experiment.finetuning, method="vat"), 0
    )
    assert data.unlabeled is not None
    for step in range(4):
        labeled, *rest = data.describe(step).split(", ")
        rows = [int(word) for word in labeled.split() if word.isdigit()]
        assert labeled == f"labeled rows {' '.join(map(str, rows))} of train"
        assert rows == data.labeled.rows(step).tolist()
        lengths = []
        for part in rest:
            split = store.splits[part.split()[-1]]
            lengths += [int(split.lengths[int(word)]) for word in part.split() if word.isdigit()]
        assert sorted(lengths) == sorted(data.unlabeled.batch(step).lengths.tolist())


def test_a_rank_describes_its_own_share(store: TokenStore, experiment: Experiment) -> None:
    finetuning = FinetuningData(store, experiment.data, experiment.finetuning, 0)
    pretraining = PretrainingData(store, experiment.model, experiment.pretraining, 0)
    for data in (finetuning, pretraining):
        data.trainer = SimpleNamespace(global_step=0, global_rank=1, world_size=2)  # type: ignore[assignment]
    expected = finetuning.labeled.rows(2)[1::2].tolist()
    assert finetuning.describe(2).startswith(f"labeled rows {' '.join(map(str, expected))} of train")
    assert pretraining.describe(1) == "epoch 0, window 1: tokens 4 to 7 of lanes 1 of 3"


def trainer(others: bool) -> SimpleNamespace:
    """The view of one of two ranks, on what the other one says."""
    decide = SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision or others)
    return SimpleNamespace(world_size=2, strategy=decide, global_step=7, datamodule=None)


def test_ranks_decide_together() -> None:
    for mine in (False, True):
        for others in (False, True):
            assert any_rank(trainer(others), mine) == (mine or others)  # type: ignore[arg-type]


def test_a_rank_stops_when_another_one_has_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what the one has read whose loss is not finite; where that is unknown, what all have."""
    module, one = SimpleNamespace(trainer=trainer(others=True)), torch.ones(())
    guard = FiniteGuard()
    for finite, batches in ((False, "rank 1: theirs"), (True, "rank 0: unknown; rank 1: theirs")):
        theirs = {int: 1, tuple: (finite, "theirs")}  # their second step; what they say about it
        monkeypatch.setattr(guards, "all_ranks", lambda _, mine, theirs=theirs: [mine, theirs[type(mine)]])
        for step in (6, 7, 8):
            guard.note(step, one, one)
        with pytest.raises(InputError, match=rf"step 8 .*{'gradient' if finite else 'loss'} .* Batch: {batches}$"):
            guard.check(module)  # type: ignore[arg-type]
    guard.note(9, one, one)
    guard.check(SimpleNamespace(trainer=trainer(others=False)))  # type: ignore[arg-type]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("saves", [False, True])
def test_a_device_that_is_not_waited_for(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, saves: bool
) -> None:
    """Steps that are not looked at one by one leave the weights alone from the first bad one on, which is named."""
    monkeypatch.setattr(TrainingModule, "check_every", 100 if saves else 6)
    poison = Poison(monkeypatch, FinetuningModule, 2, target)
    settings = replace(experiment, finetuning=replace(experiment.finetuning, validate_every=4 if saves else 100))
    with pytest.raises(InputError, match=r"before step 2 changed any weight"):
        runs.finetune(settings, store, tmp_path, None)
    assert poison.untouched()
    assert not (tmp_path / LAST).exists()
