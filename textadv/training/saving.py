"""Checkpoints of a run: how Lightning writes and reads them, when they are saved, and going on from one exactly."""

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.plugins import CheckpointIO
from torch import Tensor

from textadv.checkpoints import BEST, LAST, PREVIOUS, load_file, write_checkpoint
from textadv.errors import InputError
from textadv.system.durable import is_intact, remove_file
from textadv.system.processes import is_main
from textadv.training.callbacks import SPEED
from textadv.training.lightning_internals import change_max_steps, place_loop, validate_now
from textadv.training.metrics_file import MetricsFile
from textadv.training.selection import ERROR, MACRO_F1, TEMPERATURE, Measure

FIGURES = (ERROR.monitor, MACRO_F1.monitor, TEMPERATURE)  # of the best checkpoint
RUN = "run"  # where a checkpoint says where its run stood


class CheckpointFiles(CheckpointIO):
    """Lightning's checkpoints as files with sums; `last.ckpt` leaves its predecessor as `previous.ckpt`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write one."""
        path = Path(path)
        write_checkpoint(path, checkpoint, keep=path.with_name(PREVIOUS) if path.name == LAST else None)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        """Read one into main memory; tensors and primitives, whatever the caller allows."""
        return load_file(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one with its sum."""
        remove_file(Path(path))


class BestCheckpoint(ModelCheckpoint):
    """The checkpoint with the best figure of validation, found again after the folder of the run was moved.

    Of equally good ones it is the last: few labels often say the same of all, and the first may have hardly begun to
    learn. Lightning's keeps the first; after a move it forgets its score, takes a lost or damaged file for the best,
    and never restores `current_score`.

    Args:
        folder: The folder of the run.
        measure: The figure.

    Attributes:
        figures: All figures of the validation that it was saved after; empty where there is no such checkpoint.
    """

    def __init__(self, folder: Path, measure: Measure) -> None:
        name, monitor, mode = Path(BEST).stem, measure.monitor, measure.mode
        super().__init__(folder, filename=name, monitor=monitor, mode=mode, enable_version_counter=False)
        self.figures: dict[str, float] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if it is the best so far, and remember its figures."""
        super().on_validation_end(trainer, pl_module)
        if trainer.callback_metrics[str(self.monitor)] == self.best_model_score:
            logged = trainer.callback_metrics.items()
            self.figures = {name: float(value) for name, value in logged if name in FIGURES}

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, with the figures."""
        return super().state_dict() | {"figures": self.figures}

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Whether this checkpoint is as good as the best so far; every rank has to ask."""
        equal = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return equal or super().check_monitor_top_k(trainer, current)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up which checkpoint is the best, or start anew where that file is lost."""
        path = Path(str(self.dirpath)) / BEST
        if not state_dict["best_model_path"]:
            return
        if not is_intact(path):
            if is_main():
                print(f"textadv: {path} is damaged or gone: the best from here on is kept", file=sys.stderr)
            return
        here = {"dirpath": self.dirpath, "best_model_path": str(path), "kth_best_model_path": str(path)}
        super().load_state_dict(state_dict | here | {"best_k_models": {str(path): state_dict["best_model_score"]}})
        self.current_score, self.figures = state_dict["current_score"], state_dict["figures"]


class LastCheckpoint(Checkpoint):
    """Has the last step validated, and saves `last.ckpt` after each validation, to go on as if nothing had happened.

    After the validation, because early stopping and the best checkpoint have then taken it into account: a checkpoint
    from before it would let a resumed run forget that validation. Lightning validates after every
    `val_check_interval` steps only: the steps after the last multiple would be neither measured nor saved.

    Lightning's `save_last` saves only after a validation that is the best so far.

    Args:
        folder: The folder of the run.
        metrics: Its curves.
    """

    def __init__(self, folder: Path, metrics: MetricsFile) -> None:
        self.path = folder / LAST
        self.metrics = metrics
        self._figures: dict[str, float] = {}  # of the run that goes on
        self.step = 0  # of the newest checkpoint
        self.validated = 0  # the last step after which a validation was finished
        self._overdue = False  # the run that goes on has done its last step, but not validated it

    def save(self, trainer: pl.Trainer) -> None:
        """Save between two steps, or in a validation that is then run anew."""
        trainer.save_checkpoint(self.path)
        self.step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Have the last step validated, whichever it is."""
        if trainer.global_step >= trainer.max_steps:
            validate_now(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save; Lightning calls this after the other callbacks and after the best checkpoint."""
        self.validated = trainer.global_step
        self.save(trainer)

    def figures(self, trainer: pl.Trainer) -> dict[str, float]:
        """All figures logged last but the speed: they depend on seed and settings only, not on the clock."""
        logged = trainer.callback_metrics.items()
        return self._figures | {name: float(value) for name, value in logged if name != SPEED}

    def on_save_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """Add where the run stands."""
        run = {"validated": self.validated, "rows": self.metrics.rows, "figures": self.figures(trainer)}
        checkpoint[RUN] = run

    def on_load_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        """Stand where the run stood.

        Raises:
            InputError: The checkpoint does not say where.
        """
        try:
            run, self.step = checkpoint[RUN], checkpoint["global_step"]
            self.validated, self._figures = run["validated"], run["figures"]
            is_last = self.step >= trainer.max_steps
            due = is_last or self.step % int(trainer.val_check_interval) == 0
            pending = due and self.validated != self.step
            self._overdue = is_last and pending
            place_loop(checkpoint["loops"]["fit_loop"], self.step, due, pending)
            self.metrics.keep(run["rows"])
        except (KeyError, TypeError):
            raise InputError("--resume: the checkpoint does not say where its run stood") from None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let Lightning, which leaves a run of all its steps alone, catch up on its last validation."""
        if self.validated != self.step:
            trainer.should_stop = False  # a run that early stopping ends, ends with a validation as well
        if self._overdue:
            change_max_steps(trainer, self.step + 1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have that validation run; Lightning has just set the number of steps between two."""
        if self._overdue:
            validate_now(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Allow no step beyond that validation."""
        if self._overdue:
            change_max_steps(trainer, self.step)
            self._overdue = False
