"""What to do when memory runs out in training."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl

from textadv.corpus.batching import Batch
from textadv.errors import InputError, is_out_of_memory
from textadv.settings import FinetuningSettings, PretrainingSettings


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
        section, names = "pretraining", ["batch_size", "window"]
        if isinstance(settings, FinetuningSettings):
            section, names = "finetuning", ["batch_size", "window"]
            names[1:1] = ["unlabeled_batch_size"] if settings.uses_unlabeled else []
        flags = ", ".join(f"--{section}.{name} {getattr(settings, name)}" for name in names)
        raise InputError(
            f"out of memory at step {trainer.global_step + 1}, whose batch has {_batch_tokens(data):,} tokens with "
            f"padding: lower {flags}. The checkpoint before it is kept"
        ) from None


def _batch_tokens(data: pl.LightningDataModule) -> int:
    """Tokens of this rank's batch of the step that the trainer stands at, padding counted."""
    batch = next(iter(data.train_dataloader()))
    parts: list[Batch] = list(batch.values()) if isinstance(batch, dict) else [batch]
    return sum(part.tokens.numel() for part in parts)
