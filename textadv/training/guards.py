"""What stops a training: a number that is not finite, a rank that is gone, memory that runs out; on all ranks."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed import DistError

from textadv.errors import InputError, ProcessLostError, is_out_of_memory
from textadv.settings import FinetuningSettings, PretrainingSettings

T = TypeVar("T")
LOST = re.compile(r"gloo|Connection (closed|reset)|Broken pipe", re.IGNORECASE)  # in the messages of gloo


def any_rank(trainer: pl.Trainer, decision: bool) -> bool:
    """Whether the decision is true on any rank; every rank has to ask and hears the same."""
    return trainer.strategy.reduce_boolean_decision(decision, all=False)


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


@contextmanager
def out_of_memory_advice(
    trainer: pl.Trainer, data: pl.LightningDataModule, settings: PretrainingSettings | FinetuningSettings
) -> Iterator[None]:
    """Turn running out of memory into a line that says what the batch took and which settings bound it.

    Args:
        trainer: At the step that failed.
        data: Its batches.
        settings: What bounds their size.

    Raises:
        InputError: Memory has run out.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        batch = next(iter(data.train_dataloader()))  # this rank's at that step
        tokens = sum(part.tokens.numel() for part in (batch.values() if isinstance(batch, dict) else [batch]))
        reads_unlabeled = isinstance(settings, FinetuningSettings) and settings.uses_unlabeled
        names = ["batch_size", *["unlabeled_batch_size"] * reads_unlabeled, "window"]
        flags = ", ".join(f"{settings.prefix}{name} {getattr(settings, name)}" for name in names)
        if isinstance(settings, FinetuningSettings) and settings.whole_batch_setting is None:
            flags += f", or raise {settings.prefix}micro_batches {settings.micro_batches}"
        raise InputError(
            f"out of memory at step {trainer.global_step + 1}, whose batch has {tokens:,} tokens with padding: lower "
            f"{flags}. The checkpoint before it is kept"
        ) from None


class FiniteGuard:
    """Keeps a loss or gradient that is not finite from changing a weight, without waiting for the device.

    The optimizer skips the first such step and all that follow (a fused optimizer of torch reads `found_inf` on the
    device), until the host reads what has been noted and stops all ranks.

    Attributes:
        skip: 1.0 from the first step on that is not finite, a scalar on the device.
    """

    def __init__(self) -> None:
        self.skip: Tensor | None = None
        self._noted: list[tuple[int, Tensor]] = []  # steps, whether loss and gradients of each are finite, (2,)

    def note(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Note one step, before the optimizer takes it.

        Args:
            step: Steps done before it.
            loss: This rank's loss.
            norm: Norm of the gradients.
        """
        finite = torch.stack([loss, loss + norm]).isfinite()
        self._noted.append((step, finite))
        broken = (~finite[1]).float()
        self.skip = broken if self.skip is None else torch.maximum(self.skip, broken)

    def check(self, module: pl.LightningModule) -> None:
        """Read what has been noted; every rank has to.

        Args:
            module: In training; its data module describes the batch.

        Raises:
            InputError: A number was not finite, on this rank or on another one; it says what they had read at that
                step, the same on every rank.
        """
        if not self._noted:
            return
        trainer, (steps, finite) = module.trainer, zip(*self._noted, strict=True)
        noted = torch.stack(finite).tolist()  # all that there is to wait for
        self._noted = []
        mine = next((i for i, (_, gradients) in enumerate(noted) if not gradients), len(noted))
        if not any_rank(trainer, mine < len(noted)):
            return
        place = min(all_ranks(trainer, mine))
        step, data = steps[place], trainer.datamodule  # type: ignore[attr-defined]
        ranks = all_ranks(trainer, (noted[place][0], "unknown" if data is None else data.describe(step)))
        # Gradients are averages over the ranks: only a loss tells whose they are.
        culprits = [number for number, (finite, _) in enumerate(ranks) if not finite]
        batches = [f"rank {number}: " * (len(ranks) > 1) + ranks[number][1] for number in culprits or range(len(ranks))]
        raise InputError(
            f"stopped before step {step + 1} changed any weight: the {'loss' if culprits else 'gradient'} is not "
            f"finite. The checkpoint before it is kept. Batch: {'; '.join(batches)}"
        )
