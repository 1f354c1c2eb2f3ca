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
from textadv.training.guards import all_ranks, any_rank
from textadv.training.lightning_internals import disarm_sigterm
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
        self._common_batches = 0

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

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Be the only one who listens to SIGTERM."""
        disarm_sigterm(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int) -> None:
        """Stop before the step, if any rank was told to."""
        self.check(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Agree on the number of batches that all ranks have."""
        self._common_batches = min(all_ranks(trainer, sum(map(int, trainer.num_val_batches))))

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int, dataloader_idx: int = 0
    ) -> None:
        """Break a validation off, to be run anew."""
        if idx < self._common_batches and any_rank(trainer, bool(self.received)):
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightEMA):
                    callback.on_validation_epoch_end(trainer, pl_module)  # the weights themselves are saved
            self._stop(trainer)

    def check(self, trainer: pl.Trainer) -> None:
        """Stop between two steps or after the last one, if any rank was told to; every rank has to ask.

        Raises:
            Stopped: One was.
        """
        if any_rank(trainer, bool(self.received)):
            self._stop(trainer)

    def _stop(self, trainer: pl.Trainer) -> None:
        """Save what is new and stop."""
        if self.last.step != trainer.global_step:
            self.last.save(trainer)
        interrupted = any_rank(trainer, self.received[:1] == [signal.SIGINT])
        signum = signal.SIGINT if interrupted else signal.SIGTERM
        raise Stopped(signum, trainer.global_step, self.last.path if self.last.step else None)
