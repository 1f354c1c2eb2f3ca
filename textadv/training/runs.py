"""Whole runs: build the module and its data, hand both to Lightning's Trainer, write what came out."""

import logging
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from torch.distributed.constants import default_pg_timeout

from textadv.checkpoints import BEST, LAST, model_card, remove_weights
from textadv.corpus.datamodules import FinetuningData, PretrainingData
from textadv.corpus.pretraining_documents import MaskedPretrainingData
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.factory import build_classifier, build_encoder
from textadv.models.language_model import LanguageModel
from textadv.models.transformer import TransformerEncoder
from textadv.settings import Experiment, TrainerSettings
from textadv.system.durable import remove_file
from textadv.system.machine import device
from textadv.system.processes import is_main
from textadv.training.base import TrainingModule
from textadv.training.callbacks import Patience, Progress, SayOnce, WeightEMA, collapse_warning, zero_gradients_warning
from textadv.training.encoders import initial_encoder, masked_language_model
from textadv.training.finetuning import FinetuningModule
from textadv.training.guards import no_rank_lost, out_of_memory_advice
from textadv.training.loggers import NOBODY, Forget, Watchers, build_loggers
from textadv.training.metrics_file import MetricsFile
from textadv.training.pretraining import PretrainingModule
from textadv.training.probe import ProbeStart
from textadv.training.saving import FIGURES, BestCheckpoint, CheckpointFiles, LastCheckpoint
from textadv.training.selection import MACRO_F1, TEMPERATURE, choose_measure
from textadv.training.signals import StopOnSignal
from textadv.training.teacher import Teacher

LOG_EVERY = 20
LONGEST_WAIT = timedelta(days=1)  # on CPUs for rank 0, which reads alone for a probe
METRICS = "metrics.csv"
UNFOUNDED = (  # warnings
    "does not have many workers",  # batches are functions of the step, made in the main process
    "exists and is not empty",
    "LeafSpec",  # Lightning's own use of torch
    "broadcast_buffers",  # its new name is not in older releases of torch
    "sync_dist=True",  # figures are the same on all ranks when they are logged
)


def pretraining_parts(
    experiment: Experiment, store: TokenStore
) -> tuple[TrainingModule, PretrainingData | MaskedPretrainingData]:
    """The language model with its first weights, of a Transformer the masked one, and what it reads.

    Args:
        experiment: The settings.
        store: The prepared corpus.
    """
    settings = experiment.pretraining
    torch.manual_seed(experiment.seed)
    if experiment.model.is_transformer:
        return masked_language_model(experiment, store)
    encoder = build_encoder(experiment.model, torch.from_numpy(store.frequencies), settings.dropout)
    card = model_card("language_model", experiment, store)
    model = LanguageModel(encoder, settings.output_dropout, settings.tied_softmax)
    module = PretrainingModule(model, settings, experiment.seed, card)
    return module, PretrainingData(store, experiment.model, settings, experiment.seed)


def pretrain(experiment: Experiment, store: TokenStore, output: Path, resume: Path | None = None) -> dict[str, Any]:
    """Train the language model, of a Transformer the masked one; its encoder is what fine-tuning starts from.

    Args:
        experiment: The settings.
        store: The prepared corpus.
        output: Folder for the checkpoint and the curves.
        resume: A checkpoint to go on from.

    Returns:
        Figures of the run: steps, seconds, tokens per second, validation perplexity, checkpoint.
    """
    module, data = pretraining_parts(experiment, store)
    if module.card.get("head") == "new" and is_main():
        name = experiment.model.pretrained
        print(f"textadv: {name} has no head for masked language modelling: a new one is trained", file=sys.stderr)
    run = _fit(experiment, module, data, output, "pretraining", [], resume)
    return run | {
        "validation_perplexity": run["metrics"]["validation_perplexity"],
        "checkpoint": str(output / LAST),
    }


def finetuning_parts(
    experiment: Experiment, store: TokenStore, pretrained: Path | None
) -> tuple[FinetuningModule, FinetuningData]:
    """The classifier with its first weights, and its labeled and unlabeled texts.

    Args:
        experiment: The settings.
        store: The prepared corpus.
        pretrained: Checkpoint of the language model; None for random weights.
    """
    settings = experiment.finetuning
    torch.manual_seed(experiment.seed)
    encoder = initial_encoder(experiment, store, pretrained)
    classifier = build_classifier(experiment.model, encoder, len(store.classes))
    data = FinetuningData(store, experiment.data, settings, experiment.seed)
    origin = experiment.model.pretrained if pretrained is None else str(pretrained)
    body = encoder.body.config.to_dict() if isinstance(encoder, TransformerEncoder) else None
    labels = {"labels": data.num_labeled, "validation_labels": data.num_validation}
    labels["labels_seen"] = sum(labels.values())
    card = model_card("classifier", experiment, store, pretrained=origin, body=body, **labels)
    counts = np.bincount(store.splits["train"].labels[data.labeled.indices], minlength=len(store.classes))
    shares = (counts / counts.sum()).tolist()
    return FinetuningModule(classifier, settings, experiment.seed, card, shares), data


def finetune(
    experiment: Experiment,
    store: TokenStore,
    output: Path,
    pretrained: Path | None,
    resume: Path | None = None,
    watchers: Watchers = NOBODY,
) -> dict[str, Any]:
    """Train the classifier, keeping the checkpoint that is best in validation; without validation, the last one.

    Args:
        experiment: The settings.
        store: The prepared corpus.
        output: Folder for the checkpoints and the curves.
        pretrained: Checkpoint of the language model; None starts from random weights.
        resume: A checkpoint to go on from, instead of either.
        watchers: Callbacks and loggers of the caller's.

    Returns:
        Figures of the run: steps, seconds, tokens per second, what selected the checkpoint, its validation error and
        macro-F1, its temperature (each None where there is none), the checkpoint, the encoder that it started from,
        and the numbers of labels that trained, selected, and both.
    """
    settings = experiment.finetuning
    module, data = finetuning_parts(experiment, store, pretrained)
    labels = {name: module.card[name] for name in ("labels", "validation_labels", "labels_seen")}
    shares = module.class_shares.tolist()
    selecting = np.bincount(data.validation_labels, minlength=len(store.classes)).tolist()
    measure, reason = choose_measure(settings, selecting, store.classes)
    best = BestCheckpoint(output, measure)
    callbacks: list[Callback] = [WeightEMA(settings.ema_decay)] if settings.ema_decay else []
    callbacks += [
        SayOnce(lambda: zero_gradients_warning(module.take_zero_share())),
        SayOnce(lambda: collapse_warning(module.take_class_shares(), shares, store.classes)),
    ]
    if settings.teacher_share:
        callbacks.append(Teacher(data))
    if settings.head_start == "probe" and resume is None:
        callbacks.append(ProbeStart(data))
    if data.num_validation:
        callbacks += [Patience(settings.patience, measure), best]
        if measure is MACRO_F1 and is_main():
            print(f"textadv: macro-F1 selects the checkpoint, not the error ({reason})", file=sys.stderr)
    if resume is None and is_main():  # of an earlier run in this folder: they would be taken for the result of this one
        remove_file(output / BEST)
        remove_weights(output)
    description = f"fine-tuning {settings.method}"
    callbacks += [*watchers.callbacks, Forget(watchers.callbacks)]
    run = _fit(experiment, module, data, output, description, callbacks, resume, watchers.loggers)
    if best.figures.get(TEMPERATURE) == 1 and is_main():
        right = f"all {data.num_validation} labels that select are predicted right, and say nothing about it"
        print(f"textadv: the temperature stays 1: {right}", file=sys.stderr)
    return run | {
        **labels,
        "pretrained": module.card["pretrained"],
        "selection": measure.name if data.num_validation else None,
        **{name: best.figures.get(name) for name in FIGURES},
        "checkpoint": str(output / (BEST if data.num_validation else LAST)),
    }


def _fit(
    experiment: Experiment,
    module: TrainingModule,
    data: pl.LightningDataModule,
    output: Path,
    description: str,
    callbacks: list[Callback],
    resume: Path | None,
    loggers: Sequence[Logger] = (),
) -> dict[str, Any]:
    """Run the Trainer; returns steps, seconds, tokens per second and the last metrics."""
    progress = Progress(description)
    metrics = MetricsFile(output / METRICS)
    last = LastCheckpoint(output, metrics)
    stop = StopOnSignal(last)
    trainer = build_trainer(
        experiment.trainer,
        [stop, progress, *callbacks, last],
        max_steps=module.settings.steps,
        val_check_interval=module.settings.validate_every,
        limit_val_batches=1.0,
        log_every_n_steps=LOG_EVERY,
        logger=[metrics, *build_loggers(experiment.trainer, output, resumed=resume is not None), *loggers],
        plugins=[CheckpointFiles()],
    )
    if experiment.trainer.precision == "64-true":
        module.double()  # now: Lightning does so after the average of the weights has been set up in float32
    started = time.perf_counter()
    with no_rank_lost(trainer):
        with stop, out_of_memory_advice(trainer, data, module.settings):
            fit(trainer, module, data, resume)
        stop.check(trainer)  # too late for the training, which is complete, but not for what follows it
    return {
        "steps": trainer.global_step,
        "seconds": time.perf_counter() - started,
        "tokens_per_second": progress.tokens_per_second,
        "metrics": last.figures(trainer),
    }


def build_trainer(machine: TrainerSettings, callbacks: list[Callback], **options: Any) -> pl.Trainer:
    """A Trainer for endless loaders that make their batches by the step.

    Args:
        machine: Devices and precision.
        callbacks: All callbacks.
        options: Further arguments of Lightning's Trainer.

    Returns:
        The trainer.

    Raises:
        InputError: This machine has no such devices, or SLURM has started other processes than that.
    """
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    several, kind = machine.devices * machine.num_nodes > 1, device(machine)
    # Without gloo's connections, which break, a rank that is gone is noticed by this time only.
    timeout = LONGEST_WAIT if kind == "cpu" else default_pg_timeout
    try:
        return pl.Trainer(
            # No buffer ever changes, and ranks may differ in their number of validation batches.
            strategy=DDPStrategy(broadcast_buffers=False, timeout=timeout) if several else "auto",
            accelerator=kind,
            devices=machine.devices,
            num_nodes=machine.num_nodes,
            precision=machine.precision,
            max_epochs=-1,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            callbacks=callbacks,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
    except (MisconfigurationException, RuntimeError) as error:  # the latter for what SLURM has set
        flags = f"--trainer.accelerator {machine.accelerator} --trainer.devices {machine.devices}"
        raise InputError(f"{flags}: {' '.join(str(error).split())}") from None


def fit(trainer: pl.Trainer, module: TrainingModule, data: pl.LightningDataModule, resume: Path | None = None) -> None:
    """Train, without the warnings that do not apply here.

    Args:
        trainer: From `build_trainer`.
        module: What is trained.
        data: Its batches.
        resume: A checkpoint to go on from.
    """
    with warnings.catch_warnings():
        for words in UNFOUNDED:
            warnings.filterwarnings("ignore", f".*{words}")
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
