"""Decisions that all ranks take together, and the stop where a loss or a gradient is not finite."""

import pytorch_lightning as pl
import torch
from torch import Tensor

from textadv.errors import InputError


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


def require_finite(module: pl.LightningModule, loss: Tensor, norm: Tensor) -> None:
    """Stop all ranks before a step that would ruin the weights.

    Args:
        module: In training; its data module describes the batch.
        loss: This step's loss.
        norm: Norm of this step's gradients.

    Raises:
        InputError: One of them is not finite, on this rank or on another one.
    """
    trainer = module.trainer
    good = bool(torch.isfinite(loss + norm))  # one number to wait for
    if not any_rank(trainer, not good):
        return
    step = trainer.global_step
    if good:
        raise InputError(f"stopped before step {step + 1} changed any weight: another rank's loss is not finite")
    culprit = "gradient" if torch.isfinite(loss) else "loss"
    batch = trainer.datamodule.describe(step) if trainer.datamodule is not None else "unknown"  # type: ignore[attr-defined]
    raise InputError(
        f"stopped before step {step + 1} changed any weight: the {culprit} is not finite. The checkpoint before it is "
        f"kept. Batch: {batch}"
    )
