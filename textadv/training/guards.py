"""Decisions that all ranks take together, and the stop where a loss or a gradient is not finite."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed import DistError

from textadv.errors import InputError, ProcessLostError

T = TypeVar("T")
LOST = re.compile(r"gloo|Connection (closed|reset)|Broken pipe", re.IGNORECASE)  # in the messages of gloo


def any_rank(trainer: pl.Trainer, decision: bool) -> bool:
    """Whether the decision is true on any rank; every rank has to ask.

    Args:
        trainer: The trainer.
        decision: What this rank says.

    Returns:
        The same on every rank.
    """
    if trainer.world_size == 1:
        return decision
    return bool(trainer.strategy.reduce_boolean_decision(decision, all=False))


def all_ranks(trainer: pl.Trainer, value: T) -> list[T]:
    """What every rank says, in their order; every rank has to take part."""
    if trainer.world_size == 1:
        return [value]
    values: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def no_rank_lost(trainer: pl.Trainer) -> Iterator[None]:
    """Tell that another rank is gone from whatever else goes wrong.

    Raises:
        ProcessLostError: A call to another rank has failed.
    """
    try:
        yield
    except RuntimeError as error:
        if trainer.world_size > 1 and (isinstance(error, DistError) or LOST.search(str(error))):
            message = f"rank {trainer.global_rank}: another process of this run is gone; what has been saved is kept"
            raise ProcessLostError(message) from None
        raise


def require_finite(module: pl.LightningModule, loss: Tensor, norm: Tensor) -> None:
    """Stop all ranks before a step that would ruin the weights.

    Args:
        module: In training; its data module describes the batch.
        loss: This rank's loss of the step.
        norm: Norm of this step's gradients.

    Raises:
        InputError: One of them is not finite, on this rank or on another one; it says what they have read, the same on
            every rank.
    """
    trainer = module.trainer
    if not any_rank(trainer, not bool(torch.isfinite(loss + norm))):  # one number to wait for
        return
    step = trainer.global_step
    batch = "unknown" if trainer.datamodule is None else trainer.datamodule.describe(step)  # type: ignore[attr-defined]
    ranks = all_ranks(trainer, (bool(torch.isfinite(loss)), batch))
    # Gradients are averages over the ranks: only a loss tells whose they are.
    culprits = [number for number, (finite, _) in enumerate(ranks) if not finite]
    batches = [f"rank {number}: " * (len(ranks) > 1) + ranks[number][1] for number in culprits or range(len(ranks))]
    raise InputError(
        f"stopped before step {step + 1} changed any weight: the {'loss' if culprits else 'gradient'} is not finite. "
        f"The checkpoint before it is kept. Batch: {'; '.join(batches)}"
    )
