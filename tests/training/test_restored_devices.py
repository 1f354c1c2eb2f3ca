"""What is restored or made before Lightning moves the module to its device is on that device when it is used.

The device is torch's `meta`, on which nothing can be read, and which refuses tensors of the CPU beside its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy

from textadv.checkpoints import LAST
from textadv.corpus.store import TokenStore
from textadv.settings import Experiment
from textadv.training import runs
from textadv.training.base import TrainingModule
from textadv.training.callbacks import WeightEMA
from textadv.training.finetuning import FinetuningModule
from textadv.training.pretraining import PretrainingModule

META = torch.device("meta")
PRECISIONS = {"32-true": torch.float32, "64-true": torch.float64}
pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")


class Reached(BaseException):
    """The module is on its device, and what a checkpoint holds is restored."""


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """From here on, Lightning trains on `meta`, until the module is there."""

    def begin(kind: type[TrainingModule], look: Callable[..., None]) -> None:
        def look_and_stop(module: Any) -> None:
            look(module)
            raise Reached

        monkeypatch.setattr(CPUAccelerator, "setup_device", lambda self, device: None)
        monkeypatch.setattr(SingleDeviceStrategy, "root_device", property(lambda self: META))
        monkeypatch.setattr(SingleDeviceStrategy, "teardown", lambda self: None)  # it moves the module to the CPU
        monkeypatch.setattr(TrainingModule, "configure_optimizers", lambda self: torch.optim.SGD(self.parameters()))
        monkeypatch.setattr(kind, "on_fit_start", look_and_stop)

    yield begin
    torch.set_default_dtype(torch.float32)  # a run in float64 was broken off


@pytest.fixture(params=list(PRECISIONS))
def settings(request: pytest.FixtureRequest, experiment: Experiment) -> Experiment:
    return replace(experiment, trainer=replace(experiment.trainer, precision=request.param))


def test_the_carried_state_of_a_run_that_goes_on(
    settings: Experiment, store: TokenStore, tmp_path: Path, on_meta: Callable[..., None]
) -> None:
    runs.pretrain(replace(settings, pretraining=replace(settings.pretraining, steps=1)), store, tmp_path)

    def look(module: PretrainingModule) -> None:
        assert module.states is not None
        values = [value for state in module.states for value in state]
        assert {(v.device, v.dtype) for v in values} == {(META, PRECISIONS[settings.trainer.precision])}

    on_meta(PretrainingModule, look)
    with pytest.raises(Reached):
        runs.pretrain(settings, store, tmp_path, tmp_path / LAST)


@pytest.mark.parametrize("goes_on", [False, True])
def test_the_weight_average(
    settings: Experiment, store: TokenStore, tmp_path: Path, on_meta: Callable[..., None], goes_on: bool
) -> None:
    """Of a fresh run and of one that goes on: neither its update nor its use in validation reads from the device."""
    if goes_on:
        runs.finetune(replace(settings, finetuning=replace(settings.finetuning, steps=3)), store, tmp_path, None)

    def look(module: FinetuningModule) -> None:
        (ema,) = (callback for callback in module.trainer.callbacks if isinstance(callback, WeightEMA))
        steps = module.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
        for steps.completed in range(1, 6):
            ema.on_train_batch_end(module.trainer, module, None, None, 0)
        ema.on_validation_epoch_start(module.trainer, module)
        ema.on_validation_epoch_end(module.trainer, module)
        assert ema._average_model is not None
        averages = list(ema._average_model.module.parameters())
        assert {(p.device, p.dtype) for p in averages} == {(META, PRECISIONS[settings.trainer.precision])}

    on_meta(FinetuningModule, look)
    with pytest.raises(Reached):
        runs.finetune(settings, store, tmp_path, None, tmp_path / LAST if goes_on else None)
