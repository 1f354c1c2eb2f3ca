"""The documents that something is measured on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from textadv.corpus.batching import Batch, Documents
from textadv.corpus.padding import Indices, sequential_batches
from textadv.corpus.store import Split
from textadv.system.progress import progress

BATCH_TOKENS = 16_384  # padded; gradients are kept


class Sample(NamedTuple):
    """Some documents of a split, by their numbers."""

    split: Split
    rows: Indices

    @classmethod
    def draw(cls, split: Split, count: int, seed: int) -> "Sample":
        """At most so many documents, their numbers rising; of two draws with one seed the larger holds the smaller."""
        return cls(split, np.sort(np.random.default_rng(seed).permutation(len(split))[:count]))

    @property
    def lengths(self) -> Indices:
        """Tokens of each document, EOS counted."""
        return self.split.lengths[self.rows]

    def batches(
        self, device: str, description: str | None = None, batch_tokens: int | None = None
    ) -> Iterator[tuple[Indices, Batch]]:
        """Batches on a device, with the place of each document among the rows; a description shows how far it got."""
        documents = Documents(self.split)
        parts = sequential_batches(self.lengths, batch_tokens or BATCH_TOKENS)
        for part in parts if description is None else progress(parts, len(parts), description):
            yield part, documents.batch(self.rows[part]).to(device)
