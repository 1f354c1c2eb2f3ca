"""How long a training will take on this machine, measured on a few of its own steps, which are then thrown away."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from textadv.corpus.batching import Documents
from textadv.corpus.datamodules import FinetuningData, PretrainingData
from textadv.corpus.padding import Indices
from textadv.corpus.pretraining_documents import MaskedPretrainingData
from textadv.corpus.store import TokenStore
from textadv.errors import Stopped
from textadv.precision import autocast
from textadv.settings import Experiment
from textadv.system.machine import device
from textadv.training.base import TrainingModule
from textadv.training.finetuning import FinetuningModule
from textadv.training.guards import any_rank, out_of_memory_advice
from textadv.training.lightning_internals import disarm_sigterm
from textadv.training.probe import read_features
from textadv.training.runs import build_trainer, finetuning_parts, fit, pretraining_parts
from textadv.training.signals import SIGNALS

FIRST_STEPS = 3  # are slower: kernels are compiled and memory is taken
LEAST_STEPS, SECONDS = 4, 3.0  # that are measured
MOST_STEPS = 1000  # of a model so small that its steps take no time
VALIDATION_BATCHES = 2
SAMPLED_STEPS = 100  # whose tokens stand for those of all steps
SAMPLED_TEXTS = 200  # whose reading stands for that of all that a probe or a teacher reads


def pretraining_seconds(experiment: Experiment, store: TokenStore) -> float:
    """Measure how long the language model will train, validations included.

    Args:
        experiment: The settings.
        store: The prepared corpus.
    """
    return _seconds(experiment, *pretraining_parts(experiment, store))


def finetuning_seconds(experiment: Experiment, store: TokenStore) -> float:
    """Measure how long the classifier will train, probe, teacher and validations included, if it makes all its steps.

    Args:
        experiment: The settings.
        store: The prepared corpus.
    """
    module, data = finetuning_parts(experiment, store, None)
    seconds = _seconds(experiment, module, data)
    if experiment.finetuning.head_start == "probe":
        seconds += _reading_seconds(experiment, module, data.labeled.documents, data.labeled.indices)
    if experiment.finetuning.teacher_share:
        assert data.unlabeled is not None
        rows = data.unlabeled.first(module.settings.steps)
        seconds += _reading_seconds(experiment, module, data.unlabeled.documents, rows)
    return seconds


def _reading_seconds(experiment: Experiment, module: FinetuningModule, documents: Documents, rows: Indices) -> float:
    """Have some of the texts read that a probe will read before the first step, and count them all."""
    sample = rows[:: ceil(len(rows) / SAMPLED_TEXTS)]
    kind = device(experiment.trainer)
    module.to(kind)
    started = _now(module.device)
    with autocast(kind, experiment.trainer.precision):
        read_features(module.model.encoder, documents, sample, kind)
    share = documents.lengths[sample].sum() / documents.lengths[rows].sum()
    return (_now(module.device) - started) / float(share)


def _seconds(
    experiment: Experiment, module: TrainingModule, data: PretrainingData | MaskedPretrainingData | FinetuningData
) -> float:
    """Train a module that is used for nothing else, and count what all its steps will read."""
    watch = _Stopwatch()
    trainer = build_trainer(
        experiment.trainer,
        [watch],
        max_steps=MOST_STEPS,
        val_check_interval=MOST_STEPS,
        limit_val_batches=VALIDATION_BATCHES,
        logger=False,
        enable_checkpointing=False,
    )
    with _stopped_at_once(), out_of_memory_advice(trainer, data, module.settings):
        fit(trainer, module, data)
    settings = module.settings
    sample = range(0, settings.steps, ceil(settings.steps / SAMPLED_STEPS))
    tokens = sum(one.tokens for step in sample for one in data.global_batch(step).values()) / len(sample)
    batches = len(data.val_dataloader())
    validation = watch.validation_seconds * batches / min(batches, VALIDATION_BATCHES)
    return watch.seconds_per_token * tokens * settings.steps + validation * ceil(
        settings.steps / settings.validate_every
    )


class _Stopwatch(Callback):
    """Times steps, then has a validation run, times that as well, and stops.

    Attributes:
        seconds_per_token: Of a training step.
        validation_seconds: Of the batches that are validated.
    """

    def __init__(self) -> None:
        self.seconds_per_token = self.validation_seconds = 0.0
        self._tokens = self._started = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave SIGTERM to whoever listens to it."""
        disarm_sigterm(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Count the step, from the end of the one before it on, unless it is one of the first."""
        measured = trainer.global_step - FIRST_STEPS
        if measured > 0:
            self._tokens += float(trainer.callback_metrics["tokens"])
        now = _now(pl_module.device)
        if measured <= 0:
            self._started = now
            return
        seconds = now - self._started
        self.seconds_per_token = seconds / self._tokens
        if any_rank(trainer, measured >= LEAST_STEPS and seconds >= SECONDS):
            trainer.should_stop = True

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock anew."""
        self._started = _now(pl_module.device)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read it."""
        self.validation_seconds = _now(pl_module.device) - self._started


def _now(device: torch.device) -> float:
    """The time when the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def _stopped_at_once() -> Iterator[None]:
    """End at a signal with its exit code: there is nothing to save, and Lightning would go on, or exit with another."""

    def stop(signum: int, frame: object) -> None:
        raise Stopped(signal.Signals(signum), 0, None)

    handlers: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():  # only there can handlers be set
        handlers = {signum: signal.signal(signum, stop) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
