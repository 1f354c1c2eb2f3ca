"""One implementation in one process: trains a step whenever it is asked to and says how long that took."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from textadv.benchmark.arithmetic import (
    distinct_candidates,
    useful_finetuning_operations,
    useful_pretraining_operations,
)
from textadv.benchmark.memory import peak_memory
from textadv.benchmark.peak import synchronize
from textadv.benchmark.textbook import TextbookLanguageModel, TextbookStep, random_batch
from textadv.corpus.batching import Batch, StreamBatch
from textadv.corpus.datamodules import FinetuningData, PretrainingData
from textadv.corpus.store import TokenStore
from textadv.models.factory import build_classifier, build_encoder
from textadv.models.layers import LAYERS
from textadv.precision import allow_tf32
from textadv.settings import Experiment
from textadv.settings.training import LEARNING_RATE, PRETRAINING_LEARNING_RATE
from textadv.system.machine import prepare_machine
from textadv.system.openmp import default_spinning
from textadv.training.base import TrainingModule
from textadv.training.runs import build_trainer, finetuning_parts, fit, pretraining_parts

LANGUAGE_MODEL = "language model"


@dataclass(frozen=True)
class Contender:
    """What a process runs.

    Attributes:
        task: `language model`, or a fine-tuning method.
        textbook: The textbook implementation instead of ours.
        tuned: With our settings of the process (`prepare_machine`, `bound_spinning`) instead of the defaults.
    """

    task: str
    textbook: bool
    tuned: bool


class Timing(NamedTuple):
    """What a step took."""

    seconds: float
    tokens: float  # real ones
    operations: float  # useful ones
    peak_memory: float  # bytes so far


class Gate:
    """Holds each step back until it is asked for, and times it.

    Args:
        connection: To the process that asks.
        experiment: For the number of useful operations.
        candidates: As in `useful_pretraining_operations`.
        device: Where the step computes.
    """

    def __init__(self, connection: Connection, experiment: Experiment, candidates: float, device: str) -> None:
        self.connection = connection
        self.experiment = experiment
        self.candidates = candidates
        self.device = device
        self.started = 0.0

    def wait(self) -> bool:
        """Wait to be asked; False: no more steps."""
        if not self.connection.recv():
            return False
        self.started = time.perf_counter()
        return True

    def done(self, batch: dict[str, Batch] | StreamBatch) -> None:
        """Send the figures of a step."""
        synchronize(self.device)
        seconds = time.perf_counter() - self.started
        model = self.experiment.model
        if isinstance(batch, StreamBatch):
            tokens = float(batch.targets[0].count_nonzero())
            operations = useful_pretraining_operations(
                tokens, model, self.candidates, self.experiment.pretraining.tied_softmax
            )
        else:
            lengths = [b.lengths for b in batch.values()]
            tokens = float(torch.cat(lengths).sum())
            unlabeled = lengths[1] if len(lengths) == 2 else None
            operations = useful_finetuning_operations(lengths[0], unlabeled, model, self.experiment.finetuning)
        self.connection.send(Timing(seconds, tokens, operations, peak_memory(self.device)))


@contextmanager
def process(
    contender: Contender, experiment: Experiment, store: TokenStore, device: str
) -> Iterator[Callable[[], Timing]]:
    """Start a contender; yields a function that has it train one step."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs, contender, experiment, str(store.path), device), daemon=True)
    with nullcontext() if contender.tuned else default_spinning():
        child.start()
    theirs.close()

    def step() -> Timing:
        ours.send(True)
        return cast(Timing, ours.recv())

    try:
        yield step
    finally:
        ours.send(False)
        child.join()


def _serve(connection: Connection, contender: Contender, experiment: Experiment, path: str, device: str) -> None:
    """Body of a contender's process."""
    if contender.tuned:
        prepare_machine()
    allow_tf32(experiment.trainer.tf32)
    store = TokenStore.open(Path(path))
    candidates = distinct_candidates(store.frequencies, experiment.pretraining.candidates)
    gate = Gate(connection, experiment, candidates, device)
    torch.manual_seed(experiment.seed)
    if contender.textbook:
        _run_textbook(gate, *_textbook(contender.task, experiment, store, device))
    else:
        _run_ours(gate, contender.task, experiment, store)


class _Gatekeeper(pl.Callback):
    """Opens and shuts the gate around the trainer's steps; the batch is fetched inside."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._next(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.gate.done(batch)
        self._next(trainer)

    def _next(self, trainer: pl.Trainer) -> None:
        trainer.should_stop = not self.gate.wait()


def _run_ours(gate: Gate, task: str, experiment: Experiment, store: TokenStore) -> None:
    """The steps of `pretrain` or `finetune`, by their own trainer."""
    module: TrainingModule
    data: pl.LightningDataModule
    if task == LANGUAGE_MODEL:
        module, data = pretraining_parts(experiment, store)
    else:
        module, data = finetuning_parts(experiment, store, None)
    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "limit_val_batches": 0}
    fit(build_trainer(experiment.trainer, [_Gatekeeper(gate)], **options), module, data)


def _textbook(
    task: str, experiment: Experiment, store: TokenStore, device: str
) -> tuple[nn.Module, Callable[[Any], Tensor], Iterator[Any], float]:
    """Network, its loss, the batches and the learning rate."""
    frequencies = torch.from_numpy(store.frequencies)
    if task == LANGUAGE_MODEL:
        s, model = experiment.pretraining, experiment.model
        layer = LAYERS[model.encoder](model.embedding_size, model.hidden_size, batch_first=True)
        network = TextbookLanguageModel(frequencies, layer, s.dropout)
        rate = s.learning_rate or PRETRAINING_LEARNING_RATE
        stream = PretrainingData(store, model, s, experiment.seed).stream
        return network.to(device), network.loss, (stream.batch(i) for i in range(1 << 62)), rate
    settings = experiment.finetuning
    encoder = build_encoder(experiment.model, frequencies, settings.dropout, settings.window)
    classifier = build_classifier(experiment.model, encoder, len(store.classes)).to(device)
    data = FinetuningData(store, experiment.data, settings, experiment.seed)
    step = TextbookStep(classifier, settings, torch.Generator(device).manual_seed(experiment.seed))
    sources = {"labeled": data.labeled} | ({"unlabeled": data.unlabeled} if data.unlabeled else {})
    pairs = ({name: random_batch(source, i) for name, source in sources.items()} for i in range(1 << 62))
    rate = settings.learning_rate or LEARNING_RATE
    return classifier, lambda b: step.loss(b["labeled"], b.get("unlabeled")), pairs, rate


def _run_textbook(
    gate: Gate, network: nn.Module, loss: Callable[[Any], Tensor], batches: Iterator[Any], learning_rate: float
) -> None:
    """The plain loop."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    while gate.wait():
        batch = next(batches)
        batch = {n: b.to(gate.device) for n, b in batch.items()} if isinstance(batch, dict) else batch.to(gate.device)
        optimizer.zero_grad()
        torch.autograd.backward(loss(batch))
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        gate.done(batch)
