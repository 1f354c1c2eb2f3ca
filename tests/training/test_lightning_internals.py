"""What is used of Lightning beyond its public interface is there, and means what it is used for."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, WeightAveraging
from torch import Tensor, nn

from textadv.training.lightning_internals import (
    averaged_parameters,
    change_max_steps,
    disarm_sigterm,
    place_loop,
    validate_now,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*your dataloader is not resumable"
)


class Line(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.ones(100, 1))

    val_dataloader = train_dataloader


class Validations(Callback):
    """After which steps they are."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.steps.append(trainer.global_step)


def trained(*callbacks: Callback, max_steps: int = 8, checkpoint: Path | None = None) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        max_epochs=-1,
        val_check_interval=5,
        check_val_every_n_epoch=None,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Line(), ckpt_path=checkpoint, weights_only=True)
    return trainer


def test_a_validation_after_any_step() -> None:
    class Now(Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
            if trainer.global_step == 8:
                validate_now(trainer)

    plain, asked = Validations(), Validations()
    trained(plain)
    trained(Now(), asked)
    assert (plain.steps, asked.steps) == ([5], [5, 8])


def test_another_number_of_steps() -> None:
    class More(Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            change_max_steps(trainer, 3)

    assert trained(More()).global_step == 3


def test_lightning_listens_to_sigterm_until_it_is_disarmed() -> None:
    trainer = trained()
    connector = trainer._signal_connector
    assert connector._sigterm_notifier_fn.__func__ is type(connector)._sigterm_notifier_fn  # type: ignore[attr-defined]
    disarm_sigterm(trainer)
    assert connector._sigterm_notifier_fn(15, None) is None


def test_the_average_is_where_it_is_looked_for() -> None:
    callback = WeightAveraging()
    trainer = trained(callback)
    shapes = [parameter.shape for parameter in trainer.lightning_module.parameters()]
    assert [parameter.shape for parameter in averaged_parameters(callback)] == shapes


def test_the_counters_of_a_loop_are_those_that_are_placed(tmp_path: Path) -> None:
    trainer = trained(max_steps=7)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    state = checkpoint["loops"]["fit_loop"]
    known = {name: state[name] for name in ("epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress")}
    assert "_batches_that_stepped" in state["epoch_loop.state_dict"]
    place_loop(state, 7, due=False, pending=False)
    assert state["epoch_loop.batch_progress"].keys() == known["epoch_loop.batch_progress"].keys()
    assert state["epoch_loop.batch_progress"]["total"].keys() == known["epoch_loop.batch_progress"]["total"].keys()
    torch.save(checkpoint, tmp_path / "b.ckpt")
    validations = Validations()
    assert trained(validations, max_steps=11, checkpoint=tmp_path / "b.ckpt").global_step == 11
    assert validations.steps == [10]
