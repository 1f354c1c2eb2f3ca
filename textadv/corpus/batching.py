"""Endless batches as pure functions of (seed, step, rank): nothing to save, so every run resumes exactly.

The ranks divide each batch among them: the batch of all together is the same for any number of ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.corpus.padding import Indices, pad
from textadv.corpus.store import Split
from textadv.corpus.tokenization import EOS, PAD

POOL_BATCHES = 50
EVALUATION_TOKENS = 65_536  # padded tokens per batch where no gradients are kept


class Batch(NamedTuple):
    """Right-padded documents."""

    tokens: Tensor  # (B, T)
    lengths: Tensor  # (B,), EOS counted; always in main memory, as the host cuts documents by it
    labels: Tensor  # (B,), -1 for unlabeled

    def to(self, device: str | torch.device) -> "Batch":
        """The batch on a device, without waiting for it; the lengths stay where they are."""
        tokens, labels = (value.to(device, non_blocking=True) for value in (self.tokens, self.labels))
        return Batch(tokens, self.lengths, labels)

    def part(self, number: int, count: int) -> "Batch":
        """Every so many-th of the documents, without the padding that only others need.

        Args:
            number: Of the first of them.
            count: The distance from one to the next.
        """
        rows = slice(number, None, count)
        lengths = self.lengths[rows]
        return Batch(self.tokens[rows, : int(lengths.max())], lengths, self.labels[rows])


class StreamBatch(NamedTuple):
    """One window of the token stream, per reading direction."""

    tokens: Tensor  # (directions, B, T)
    targets: Tensor  # (directions, B, T), 0 where a lane has ended
    starts: bool  # the first window of an epoch: the carried state is reset
    num_targets: int  # those that are not 0

    def to(self, device: str | torch.device) -> "StreamBatch":
        """The batch on a device, without waiting for it."""
        tokens, targets = (value.to(device, non_blocking=True) for value in (self.tokens, self.targets))
        return self._replace(tokens=tokens, targets=targets)


class GlobalBatch(NamedTuple):
    """Size of the batch of a step over all ranks; of R ranks, rank r reads its rows r, r + R, r + 2 R, ..."""

    rows: int
    width: int  # padded
    tokens: int  # no padding; those that a language model is to predict, in every direction


class Documents:
    """Several splits as one sequence of documents.

    Args:
        splits: Splits of a prepared store.
    """

    def __init__(self, *splits: Split) -> None:
        self.splits = splits
        self.lengths: Indices = np.concatenate([split.lengths for split in splits])
        self.labels: Indices = np.concatenate([split.labels for split in splits])
        self._first: Indices = np.cumsum([0] + [len(split) for split in splits])

    def __len__(self) -> int:
        return len(self.lengths)

    def document(self, index: int) -> NDArray[np.generic]:
        """Token ids of one document, ending in EOS."""
        split = int(np.searchsorted(self._first, index, side="right")) - 1
        return self.splits[split].document(index - int(self._first[split]))

    def copies(self, rows: Indices) -> Indices:
        """All rows that hold the same tokens as one of these: the rows themselves and their copies."""
        texts = {self.document(int(row)).tobytes() for row in rows}
        alike = np.flatnonzero(np.isin(self.lengths, self.lengths[rows]))
        return np.array([row for row in alike if self.document(int(row)).tobytes() in texts], np.int64)

    def batch(self, rows: Indices) -> Batch:
        """Read and pad the documents of some rows."""
        return collate([self.document(int(row)) for row in rows], self.labels[rows])


def collate(documents: Sequence[NDArray[np.generic]], labels: Indices) -> Batch:
    """Documents, each ending in EOS, padded to the longest of them, with their labels (B,)."""
    tokens, lengths = pad(documents)
    return Batch(torch.from_numpy(tokens), torch.from_numpy(lengths), torch.from_numpy(labels))


@dataclass(frozen=True, eq=False)
class DocumentBatches:
    """Endless shuffled batches of documents of similar length; every document once per epoch.

    Args:
        documents: Where they come from.
        indices: Which of them.
        batch_size: Documents per batch, over all ranks.
        seed: Seed of the order.
        stream: Number of these batches among those of the same seed, so that no two share an order.
    """

    documents: Documents
    indices: Indices
    batch_size: int
    seed: int
    stream: int = 0

    @property
    def batches_per_epoch(self) -> int:
        """Batches of one epoch; their sizes differ by one at most, so that no rank is left without a document."""
        return -(-len(self.indices) // self.batch_size)

    def rows(self, step: int) -> Indices:
        """The documents of one step, over all ranks."""
        epoch, position = divmod(step, self.batches_per_epoch)
        return self._epoch(epoch)[position]

    def first(self, steps: int) -> Indices:
        """The documents of the first steps, each once."""
        parts = [self.rows(step) for step in range(min(steps, self.batches_per_epoch))]
        return np.unique(np.concatenate(parts))

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """The batch of one step and rank."""
        return self.documents.batch(self.rows(step)[rank::world_size])

    def global_batch(self, step: int) -> GlobalBatch:
        """Size of the batch of one step."""
        lengths = self.documents.lengths[self.rows(step)]
        return GlobalBatch(len(lengths), int(lengths.max()), int(lengths.sum()))

    @lru_cache(maxsize=2)  # noqa: B019 (one object per run)
    def _epoch(self, epoch: int) -> list[Indices]:
        """Shuffle, sort pools of batches by length, cut into batches and shuffle those."""
        rng = np.random.default_rng([self.seed, self.stream, epoch])
        order = rng.permutation(self.indices)
        parts = np.array_split(order, self.batches_per_epoch)
        batches: list[Indices] = []
        for i in range(0, len(parts), POOL_BATCHES):
            pool = np.concatenate(parts[i : i + POOL_BATCHES])
            pool = pool[np.argsort(self.documents.lengths[pool], kind="stable")]
            batches += np.array_split(pool, len(parts[i : i + POOL_BATCHES]))
        return [batches[i] for i in rng.permutation(len(batches))]


@dataclass(frozen=True, eq=False)
class TokenStream:
    """One long stream of shuffled documents, cut into parallel lanes.

    Every token is predicted exactly once per epoch: a lane's first input is the token before it in the
    stream, for the very first lane an EOS.

    Args:
        documents: Where it comes from.
        lanes: Number of parallel lanes, over all ranks.
        window: Tokens per lane and step.
        reversed_too: Add a second stream in which the words of each document are reversed.
        seed: Seed of the order.
    """

    documents: Documents
    lanes: int
    window: int
    reversed_too: bool
    seed: int

    @property
    def lane_tokens(self) -> int:
        """Tokens per lane and epoch; the last lane may be shorter."""
        return -(-int(self.documents.lengths.sum()) // self.lanes)

    @property
    def batches_per_epoch(self) -> int:
        """Windows per epoch; the last one may be shorter."""
        return -(-self.lane_tokens // self.window)

    @lru_cache(maxsize=2)  # noqa: B019 (one object per run)
    def _epoch(self, epoch: int) -> tuple[Indices, Indices]:
        """Order of the documents and where each one starts in the stream."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.documents))
        return order, np.concatenate([[0], np.cumsum(self.documents.lengths[order])])

    def read(self, epoch: int, start: int, stop: int, backward: bool = False) -> Indices:
        """Tokens [start, stop) of the stream; position -1 is an EOS, those behind the end are padding."""
        order, starts = self._epoch(epoch)
        out = np.full(stop - start, PAD, dtype=np.int64)
        if start < 0:
            out[:-start] = EOS
        first = int(np.searchsorted(starts, max(start, 0), side="right")) - 1
        for place in range(first, len(order)):
            begin = int(starts[place])
            if begin >= stop:
                break
            document = self.documents.document(int(order[place]))
            if backward:
                document = np.concatenate([document[-2::-1], document[-1:]])
            low, high = max(start, begin), min(stop, begin + len(document))
            out[low - start : high - start] = document[low - begin : high - begin]
        return out

    def _place(self, step: int) -> tuple[int, int, int]:
        """Epoch of a step, and where its window begins in each lane and how wide it is."""
        epoch, position = divmod(step, self.batches_per_epoch)
        offset = position * self.window
        return epoch, offset, min(self.window, self.lane_tokens - offset)

    def global_batch(self, step: int) -> GlobalBatch:
        """Size of the batch of one step."""
        _, offset, width = self._place(step)
        left = int(self.documents.lengths.sum()) - offset - self.lane_tokens * np.arange(self.lanes)
        return GlobalBatch(self.lanes, width, int(left.clip(0, width).sum()) * (1 + self.reversed_too))

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> StreamBatch:
        """The window of one step and rank."""
        epoch, offset, width = self._place(step)
        starts = [lane * self.lane_tokens + offset for lane in range(rank, self.lanes, world_size)]
        windows = np.stack(
            [
                [self.read(epoch, start - 1, start + width, backward) for start in starts]
                for backward in (False, True)[: 1 + self.reversed_too]
            ]
        )  # (directions, lanes, width + 1)
        stream = torch.from_numpy(windows)
        targets = stream[:, :, 1:]
        return StreamBatch(stream[:, :, :-1], targets, offset == 0, int(targets.count_nonzero()))
