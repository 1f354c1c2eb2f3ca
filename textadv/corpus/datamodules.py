"""Lightning data modules over a prepared store."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from textadv.corpus.batching import (
    EVALUATION_TOKENS,
    Batch,
    DocumentBatches,
    Documents,
    GlobalBatch,
    TokenStream,
)
from textadv.corpus.padding import Indices, sequential_batches
from textadv.corpus.splits import choose_labels
from textadv.corpus.store import Split, TokenStore
from textadv.errors import InputError
from textadv.settings import DataSettings, FinetuningSettings, ModelSettings, PretrainingSettings

VALIDATION_WINDOWS = 16
NOT_ASKED = -2  # in the place of a teacher's label: of a text that no step reads


class StepBatches:
    """An endless loader: the batch of every step from a given one on.

    Being a function of the step, it has nothing to save; Lightning asks a loader that resumes
    within an epoch for the two state methods.
    """

    def __init__(self, batch: Callable[[int], Any], first_step: int) -> None:
        self.batch = batch
        self.step = first_step

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.step += 1
            yield self.batch(self.step - 1)

    def state_dict(self) -> dict[str, int]:
        """Nothing: the trainer's step is the state."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to restore."""


class FixedBatches:
    """A loader over a fixed number of batches, each made when it is asked for."""

    def __init__(self, batch: Callable[[int], Any], count: int) -> None:
        self.batch = batch
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        return (self.batch(i) for i in range(self.count))


def evaluation_batches(split: Split, rank: int = 0, world_size: int = 1, rows: Indices | None = None) -> FixedBatches:
    """Every document of a split once, this rank's share of them.

    Args:
        split: The documents.
        rank: Which share.
        world_size: Number of shares, alike in number and lengths of their documents.
        rows: Which documents; None for all of them.

    Returns:
        The loader.
    """
    documents = Documents(split)
    rows = np.arange(len(split)) if rows is None else rows
    mine = rows[np.argsort(-documents.lengths[rows], kind="stable")][rank::world_size]
    batches = [mine[places] for places in sequential_batches(documents.lengths[mine], EVALUATION_TOKENS)]
    return FixedBatches(lambda i: documents.batch(batches[i]), len(batches))


def _listed(rows: Indices) -> str:
    return " ".join(map(str, rows.tolist()))


class StoreData(pl.LightningDataModule):
    """What both data modules share: the store and where the trainer stands."""

    def __init__(self, store: TokenStore, seed: int) -> None:
        super().__init__()
        self.store = store
        self.seed = seed

    def _position(self) -> tuple[int, int, int]:
        """Step, rank and number of ranks; (0, 0, 1) outside a trainer."""
        if self.trainer is None:
            return 0, 0, 1
        return self.trainer.global_step, self.trainer.global_rank, self.trainer.world_size


def require_one_each(ranks: int, count: int, what: str) -> None:
    """Leave no rank without work.

    Raises:
        InputError: There are more ranks than pieces of work.
    """
    if 0 < count < ranks:
        raise InputError(f"--trainer.devices: {ranks} processes cannot share {count} {what}")


class PretrainingData(StoreData):
    """The stream of all training and unlabeled documents; validation on the start of the validation split.

    Args:
        store: The prepared corpus.
        model: For the number of reading directions.
        settings: Lanes and window.
        seed: Seed of the order.

    Raises:
        InputError: There are more lanes than tokens.
    """

    def __init__(self, store: TokenStore, model: ModelSettings, settings: PretrainingSettings, seed: int) -> None:
        super().__init__(store, seed)
        lanes, window, both = settings.batch_size, settings.window, model.bidirectional
        documents = Documents(store.splits["train"], store.splits["unlabeled"])
        tokens = int(documents.lengths.sum())
        if lanes > tokens:
            raise InputError(f"--pretraining.batch_size {lanes}: must be at most the {tokens:,} tokens that are read")
        self.stream = TokenStream(documents, lanes, window, both, seed)
        self.validation = TokenStream(Documents(store.splits["validation"]), min(lanes, 64), window, both, seed)

    def train_dataloader(self) -> StepBatches:
        """Windows of the stream from the trainer's step on.

        Raises:
            InputError: There are more ranks than lanes.
        """
        step, rank, world_size = self._position()
        require_one_each(world_size, self.validation.lanes, "lanes of --pretraining.batch_size (64 in validation)")
        return StepBatches(lambda s: self.stream.batch(s, rank, world_size), step)

    def global_batch(self, step: int) -> dict[str, GlobalBatch]:
        """Size of the window over all ranks, as `stream`."""
        return {"stream": self.stream.global_batch(step)}

    def describe(self, step: int) -> str:
        """Epoch, place in the stream and lanes."""
        _, rank, world_size = self._position()
        stream = self.stream
        epoch, window = divmod(step, stream.batches_per_epoch)
        first = window * stream.window
        last = min(first + stream.window, stream.lane_tokens) - 1
        lanes = ", ".join(map(str, range(rank, stream.lanes, world_size)))
        return f"epoch {epoch}, window {window}: tokens {first} to {last} of lanes {lanes} of {stream.lanes}"

    def val_dataloader(self) -> FixedBatches:
        """The first windows of the validation stream, this rank's lanes."""
        _, rank, world_size = self._position()
        count = min(VALIDATION_WINDOWS, self.validation.batches_per_epoch)
        return FixedBatches(lambda i: self.validation.batch(i, rank, world_size), count)


class FinetuningData(StoreData):
    """Labeled and unlabeled batches from one loader: `{"labeled": Batch, "unlabeled": Batch}`.

    Args:
        store: The prepared corpus.
        data: For `labels_per_class`, `validation_labels` and their seed.
        settings: Batch sizes and method; without VAT (or entropy) there are no unlabeled batches.
        seed: Seed of the order.

    Attributes:
        num_labeled: Labels that train.
        num_validation: Labels that select a checkpoint.
        teacher_labels: What a teacher says of each row of train and unlabeled, (n,): a class, -1 where it is not sure,
            -2 where it was not asked; None without a teacher.

    Raises:
        InputError: The method needs unlabeled text and there is none, or there are fewer labels than asked for.
    """

    def __init__(self, store: TokenStore, data: DataSettings, settings: FinetuningSettings, seed: int) -> None:
        super().__init__(store, seed)
        train, unlabeled = store.splits["train"], store.splits["unlabeled"]
        kept, selecting = choose_labels(
            train.labels, store.classes, data.labels_per_class, data.validation_labels, data.seed
        )
        everything = Documents(train, unlabeled)
        held_out = np.empty(0, np.int64)
        self._validation, self._validation_rows = store.splits["validation"], np.arange(len(store.splits["validation"]))
        if selecting is not None:
            self._validation, self._validation_rows = train, selecting
            held_out = selecting if data.keep_duplicates else everything.copies(selecting)
            kept = np.setdiff1d(kept, held_out)
            if len(np.unique(train.labels[kept])) < len(store.classes):
                flag = f"--data.validation_labels {data.validation_labels}"
                raise InputError(f"{flag}: all training texts of a class are copies of those that select")
        self.num_labeled, self.num_validation = len(kept), len(self._validation_rows)
        if settings.temperature_scaling and not self.num_validation:
            raise InputError("--finetuning.temperature_scaling: needs labels that select, and there are none")
        self.labeled = DocumentBatches(Documents(train), kept, settings.batch_size, seed)
        self.teacher_labels: Indices | None = None
        pool = np.setdiff1d(np.arange(len(everything)), np.union1d(kept, held_out))
        self.unlabeled: DocumentBatches | None = None
        if settings.uses_unlabeled:
            if not len(pool):
                raise InputError(
                    f"--finetuning.method {settings.method}: needs unlabeled text, and the corpus has none"
                )
            self.unlabeled = DocumentBatches(everything, pool, settings.unlabeled_batch_size, seed, 1)

    @property
    def validation_labels(self) -> Indices:
        """Labels that select a checkpoint, (n,)."""
        return self._validation.labels[self._validation_rows]

    def require_work_for(self, ranks: int) -> None:
        """Leave no rank without work.

        Args:
            ranks: How many there are.

        Raises:
            InputError: There are more than documents in a batch, or than those that select a checkpoint.
        """
        for batches, what in ((self.labeled, "labeled"), (self.unlabeled, "unlabeled")):
            if batches is not None:
                count = len(batches.indices) // batches.batches_per_epoch
                require_one_each(ranks, count, f"{what} documents per step")
        require_one_each(ranks, self.num_validation, "validation documents")

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What a teacher has said, which a run that goes on cannot ask again."""
        return {} if self.teacher_labels is None else {"teacher_labels": torch.from_numpy(self.teacher_labels).short()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """See `state_dict`."""
        self.teacher_labels = state["teacher_labels"].long().numpy()

    def train_dataloader(self) -> StepBatches:
        """Pairs of batches from the trainer's step on.

        Raises:
            InputError: See `require_work_for`.
        """
        step, rank, world_size = self._position()
        self.require_work_for(world_size)

        def pair(s: int) -> dict[str, Batch]:
            batches = {"labeled": self.labeled.batch(s, rank, world_size)}
            if self.unlabeled is not None:
                unlabeled = self.unlabeled.batch(s, rank, world_size)
                labels = torch.full_like(unlabeled.labels, -1)
                if self.teacher_labels is not None:
                    labels = torch.from_numpy(self.teacher_labels[self.unlabeled.rows(s)[rank::world_size]])
                batches["unlabeled"] = unlabeled._replace(labels=labels)
            return batches

        return StepBatches(pair, step)

    def global_batch(self, step: int) -> dict[str, GlobalBatch]:
        """Sizes of both batches over all ranks."""
        sizes = {"labeled": self.labeled.global_batch(step)}
        return sizes if self.unlabeled is None else sizes | {"unlabeled": self.unlabeled.global_batch(step)}

    def describe(self, step: int) -> str:
        """Row numbers in the splits of the prepared corpus."""
        _, rank, world_size = self._position()
        parts = [f"labeled rows {_listed(self.labeled.rows(step)[rank::world_size])} of train"]
        if self.unlabeled is not None:
            rows = self.unlabeled.rows(step)[rank::world_size]
            count = len(self.store.splits["train"])
            for name, chosen in (("train", rows[rows < count]), ("unlabeled", rows[rows >= count] - count)):
                if len(chosen):
                    parts.append(f"unlabeled rows {_listed(chosen)} of {name}")
        return ", ".join(parts)

    def val_dataloader(self) -> FixedBatches:
        """This rank's share of the documents that select a checkpoint; without any, one batch that is None.

        Checkpoints are saved after validations, so one has to run even where it measures nothing.

        Raises:
            InputError: There are more ranks than documents.
        """
        if not self.num_validation:
            return FixedBatches(lambda _: None, 1)
        _, rank, world_size = self._position()
        require_one_each(world_size, self.num_validation, "validation documents")
        return evaluation_batches(self._validation, rank, world_size, self._validation_rows)
