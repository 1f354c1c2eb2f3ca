"""SIGTERM and SIGINT in training: finish the step, save, stop with 143 or 130."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from textadv.errors import Stopped
from textadv.training.callbacks import WeightEMA
from textadv.training.guards import any_rank
from textadv.training.saving import LastCheckpoint

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(Callback):
    """Notes a signal when it comes and acts on it between two steps, on all ranks together.

    A second signal of the same kind ends the process at once; checkpoints are whole at any moment.

    Args:
        last: What saves the checkpoint.
    """

    def __init__(self, last: LastCheckpoint) -> None:
        self.last = last
        self.received: list[signal.Signals] = []
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopOnSignal":
        """Listen."""
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            self._handlers = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the signals to whoever had them before."""
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        """Note the signal."""
        received = signal.Signals(signum)
        if received in self.received:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.received.append(received)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Push out Lightning's own handler of SIGTERM, which would end the run without a checkpoint and with 0."""
        for signum in self._handlers:
            signal.signal(signum, self._receive)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int) -> None:
        """Stop before the step, if any rank was told to."""
        if any_rank(trainer, bool(self.received)):
            self._stop(trainer, validation_pending=False)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int, dataloader_idx: int = 0
    ) -> None:
        """Break a validation off, to be run anew.

        Several ranks do not agree within a validation, as their numbers of batches may differ: they stop after it.
        """
        if self.received and trainer.world_size == 1:
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightEMA):
                    callback.on_validation_epoch_end(trainer, pl_module)  # the weights themselves are saved
            self._stop(trainer, validation_pending=True)

    def _stop(self, trainer: pl.Trainer, validation_pending: bool) -> None:
        """Save what is new and stop."""
        if self.last.step != trainer.global_step:
            self.last.save(trainer, validation_pending)
        interrupted = any_rank(trainer, self.received[:1] == [signal.SIGINT])
        raise self.reason(signal.SIGINT if interrupted else signal.SIGTERM, trainer.global_step)

    def reason(self, signum: signal.Signals, step: int) -> Stopped:
        """What to raise."""
        return Stopped(signum, step, self.last.path if self.last.step else None)
