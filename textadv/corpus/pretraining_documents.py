"""What a masked language model reads: whole documents, all that training has."""

import numpy as np

from textadv.corpus.batching import Batch, DocumentBatches, Documents, GlobalBatch
from textadv.corpus.datamodules import FixedBatches, StepBatches, StoreData, require_one_each
from textadv.corpus.store import TokenStore
from textadv.settings import PretrainingSettings

VALIDATION_DOCUMENTS = 1000


class MaskedPretrainingData(StoreData):
    """Batches of all training and unlabeled documents; validation on the start of the validation split.

    Args:
        store: The prepared corpus.
        settings: Batch size.
        seed: Seed of the order.
    """

    def __init__(self, store: TokenStore, settings: PretrainingSettings, seed: int) -> None:
        super().__init__(store, seed)
        documents = Documents(store.splits["train"], store.splits["unlabeled"])
        self.documents = DocumentBatches(documents, np.arange(len(documents)), settings.batch_size, seed)
        held_out = np.arange(min(VALIDATION_DOCUMENTS, len(store.splits["validation"])))
        self.validation = DocumentBatches(Documents(store.splits["validation"]), held_out, settings.batch_size, seed)

    def train_dataloader(self) -> StepBatches:
        """Batches from the trainer's step on.

        Raises:
            InputError: There are more ranks than documents in a batch.
        """
        step, rank, world_size = self._position()
        for batches in (self.documents, self.validation):
            smallest = len(batches.indices) // batches.batches_per_epoch
            require_one_each(world_size, smallest, "documents of --pretraining.batch_size")
        return StepBatches(lambda s: self.documents.batch(s, rank, world_size), step)

    def global_batch(self, step: int) -> dict[str, GlobalBatch]:
        """Size of the batch over all ranks, as `documents`."""
        return {"documents": self.documents.global_batch(step)}

    def describe(self, step: int) -> str:
        """Row numbers in the splits of the prepared corpus."""
        _, rank, world_size = self._position()
        rows, count = self.documents.rows(step)[rank::world_size], len(self.store.splits["train"])
        parts = {"train": rows[rows < count], "unlabeled": rows[rows >= count] - count}
        return ", ".join(
            f"rows {' '.join(map(str, part.tolist()))} of {name}" for name, part in parts.items() if len(part)
        )

    def val_dataloader(self) -> FixedBatches:
        """The same batches in each validation, this rank's documents of them."""
        _, rank, world_size = self._position()

        def batch(number: int) -> Batch:
            return self.validation.batch(number, rank, world_size)

        return FixedBatches(batch, self.validation.batches_per_epoch)
