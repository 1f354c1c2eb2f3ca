"""From named rows to the four splits of a corpus: canonical order, duplicates, the validation cut, label budgets."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.rows import UNLABELED, Corpus, Document, NamedRows, Rows, RowStream
from textadv.corpus.spool import Row, SortedRows, text_bytes
from textadv.corpus.store import SPLITS
from textadv.errors import InputError
from textadv.settings import DataSettings
from textadv.system.progress import progress

CUT_STREAM, CHOICE_STREAM = 0, 1  # independent random streams under one seed
TRAINING = ("train", "unlabeled")  # what a training may know, and the vocabulary
HELD_OUT = ("validation", "test")
SHARED = (
    *(("test", name) for name in (*TRAINING, "validation")),
    ("train", "unlabeled"),
    *(("validation", name) for name in TRAINING),
)
REPORT = (
    "train_rows_without_label",
    *(f"{base}_duplicates_in_{other}" for base, other in SHARED),
    *(f"{name}_rows_removed" for name in TRAINING),
)

SourceRows = RowStream | NamedRows
Parts = Mapping[str, Iterable[SourceRows]]


def build_corpus(parts: Parts, settings: DataSettings) -> Corpus:
    """Bring the rows of any source under one schema, in memory; see `StreamedCorpus`."""
    streamed = StreamedCorpus(parts, settings, None)
    splits: dict[str, Rows] = {name: Rows([], []) for name in SPLITS}
    for split, text, label in streamed:
        splits[split].texts.append(text)
        splits[split].labels.append(label)
    return Corpus(streamed.classes, splits, streamed.report)


class StreamedCorpus:
    """The rows of any source under one schema, read as often as one likes, of which a part is in memory at a time.

    Every split is sorted by text and label, so that a corpus does not depend on the order in which its source lists
    the rows. Training rows without a label go to `unlabeled`. Training and unlabeled texts that stand in test,
    or in a validation split of the source's own, are removed unless they are to be kept; where the source has none,
    validation is then cut from train.

    All splits are sorted together, so that equal texts are neighbours, in whatever split they are.

    Attributes:
        classes: Class names; their order is the source's own where it declares one, otherwise sorted.
        report: Counts of what was found and done, such as texts shared between splits.
    """

    def __init__(self, parts: Parts, settings: DataSettings, folder: Path | None) -> None:
        """Read the source and decide on every row.

        Args:
            parts: Files of each of `train`, `unlabeled`, `validation` and `test`; only `train` must be there.
            settings: How validation is cut off, and whether texts that stand in several splits are kept.
            folder: Where the texts lie if they are many; None for the system's folder of temporary files.

        Raises:
            InputError: If there are fewer than two classes, a label is unknown or missing, or a class has too few rows.
        """
        self._rows = SortedRows(folder, text_bytes)
        self._keep_duplicates = settings.keep_duplicates
        names = _Names()
        for split in SPLITS:
            for part in parts.get(split, ()):
                names.begin(split, part)
                for number, text, name in part:
                    place = len(self._rows)
                    self._rows.add((text, SPLITS.index(split), names.index(split, name, part, number), place))
        self.classes = names.classes()
        self._labels = names.labels(self.classes)
        self.report = dict.fromkeys(REPORT, 0) | {"train_rows_without_label": names.train_rows_without_label}
        self._cut: list[NDArray[np.bool_]] | None = None  # is it cut off? By a text's rank in its class
        also_unlabeled, places = self._survey(names)
        if not names.has_validation:
            self._cut = self._cut_off(also_unlabeled, places, names, settings)

    def __len__(self) -> int:
        """Number of rows, some of which may be removed."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Document]:
        """All documents by text and label, all splits together."""
        ranks = [0] * len(self.classes)
        for text, labels, _ in self._texts(self._rows):
            for name in self._removed(labels):
                del labels[name]
            if self._cut is not None and "train" in labels:
                label = labels["train"][0]
                if self._cut[label][ranks[label]]:
                    labels["validation"] = labels.pop("train")
                ranks[label] += 1
            for split, values in labels.items():
                yield from (Document(split, text, label) for label in values)

    def _texts(self, rows: Iterable[Row]) -> Iterator[tuple[str, dict[str, list[int]], int]]:
        """Each text once, with its sorted labels in each split in which it stands, and its last place in train."""
        for text, copies in groupby(rows, key=itemgetter(0)):
            labels: dict[str, list[int]] = {}
            last = 0
            for _, split, name, place in copies:
                label = self._labels[name]
                labels.setdefault("unlabeled" if label == UNLABELED else SPLITS[split], []).append(label)
                if SPLITS[split] == "train":
                    last = max(last, place)
            yield text, {split: sorted(values) for split, values in labels.items()}, last

    def _removed(self, labels: Mapping[str, list[int]]) -> list[str]:
        """The splits that a text is removed from."""
        if self._keep_duplicates or labels.keys().isdisjoint(HELD_OUT):
            return []
        return [name for name in TRAINING if name in labels]

    def _survey(self, names: "_Names") -> tuple[list[bytearray], list["array[int]"]]:
        """Count what stands in several splits; tell of each class's training texts which are unlabeled too, and where.

        Of contradicting labels of a text the first counts.
        """
        also_unlabeled = [bytearray() for _ in self.classes]
        places = [array("q") for _ in self.classes]
        present: set[int] = set()
        for _, labels, place in self._texts(progress(self._rows, len(self._rows), "comparing the texts")):
            if len(labels) > 1:
                for base, other in SHARED:
                    self.report[f"{base}_duplicates_in_{other}"] += base in labels and other in labels
                for name in self._removed(labels):
                    self.report[f"{name}_rows_removed"] += len(labels.pop(name))
            if "train" in labels:
                present.update(labels["train"])
                also_unlabeled[labels["train"][0]].append("unlabeled" in labels)
                places[labels["train"][0]].append(place)
        if names.has_validation:
            for index, name in enumerate(self.classes):
                if index not in present:
                    row = f"{names.first_place('train', name)}: class '{name}' has no training row left"
                    raise InputError(f"{row} that does not stand in validation or test")
        return also_unlabeled, places

    def _cut_off(
        self,
        also_unlabeled: list[bytearray],
        places: list["array[int]"],
        names: "_Names",
        settings: DataSettings,
    ) -> list[NDArray[np.bool_]]:
        """Choose the training texts that become validation, by class; all copies of a text go to the same side."""
        cut = []
        for label, name in enumerate(self.classes):
            number = len(also_unlabeled[label])
            if number < 2:
                raise InputError(
                    f"{names.first_place('train', name)}: class '{name}' has {number} training texts that do not stand "
                    "in the test split; cutting validation off needs 2 (or give --data.validation)"
                )
            size = min(max(round(settings.validation_fraction * number), 1), number - 1)
            if settings.validation_cut == "last":
                order = np.argsort(places[label])[::-1]
            else:
                order = _shuffled(np.arange(number), settings.seed, CUT_STREAM, label)
            chosen = np.zeros(number, np.bool_)
            chosen[order[:size]] = True
            shared = np.frombuffer(also_unlabeled[label], np.bool_) & chosen
            self.report["validation_duplicates_in_unlabeled"] += int(shared.sum())
            cut.append(chosen)
        return cut


class _Names:
    """The class names of a source, numbered as they are met, and where each is met first in each split."""

    def __init__(self) -> None:
        self.train_rows_without_label = 0
        self._first_train: SourceRows | None = None
        self._indices: dict[str | None, int] = {None: 0}
        self._places: dict[tuple[str, str | None], str] = {}

    def begin(self, split: str, part: SourceRows) -> None:
        """Take notice of a file."""
        if split == "train" and self._first_train is None:
            self._first_train = part

    def index(self, split: str, name: str | None, part: SourceRows, number: int) -> int:
        """The number of the name of a row."""
        if split == "unlabeled":
            name = None
        if (split, name) not in self._places:
            self._places[split, name] = f"{part.file}, {part.unit} {number}"
        self.train_rows_without_label += split == "train" and name is None
        return self._indices.setdefault(name, len(self._indices))

    @property
    def has_validation(self) -> bool:
        """Whether there are validation rows."""
        return any(split == "validation" for split, _ in self._places)

    def first_place(self, split: str, name: str | None) -> str:
        """Where a name is met first in a split."""
        return self._places[split, name]

    def classes(self) -> tuple[str, ...]:
        """Classes that train holds: in the declared order, else by number if all are integers, else by name.

        Raises:
            InputError: There are fewer than two, or a row of validation or test has no such class.
        """
        in_train = [name for split, name in self._places if split == "train"]
        if self._first_train is None or not in_train:
            raise InputError("the training split holds no rows")
        names = {name for name in in_train if name is not None}
        if len(names) < 2:
            found = f"only the class '{next(iter(names))}'" if names else "no labels"
            raise InputError(
                f"{self._first_train.file}: the training split has {found}; two classes are needed at least"
            )
        for (split, name), place in self._places.items():
            if split in HELD_OUT and name not in names:
                found = "no label" if name is None else f"label '{name}', which no training row has"
                raise InputError(f"{place}: {found}")
        declared = [name for name in self._first_train.declared if name in names]
        if len(declared) == len(names):
            return tuple(declared)
        if all(name.lstrip("-").isdecimal() for name in names):
            return tuple(sorted(names, key=lambda name: (int(name.lstrip("-")) * (-1) ** name.startswith("-"), name)))
        return tuple(sorted(names))

    def labels(self, classes: Sequence[str]) -> list[int]:
        """The label of each number."""
        labels: dict[str | None, int] = {None: UNLABELED} | {name: label for label, name in enumerate(classes)}
        return [labels[name] for name in self._indices]


class ChosenLabels(NamedTuple):
    """Rows of the training split whose labels are read, sorted."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64] | None  # None: the labels of the validation split are read instead


def choose_labels(
    labels: NDArray[np.int64], names: Sequence[str], per_class: int | None, num_validation: int | None, seed: int
) -> ChosenLabels:
    """Choose the training rows that keep their label, and those among them that select a checkpoint.

    The choice is nested. With one seed, the rows for a smaller budget are among those for a larger one, and the
    validation rows of a smaller number are among those of a larger one. Validation is stratified: each class gets its
    share by the method of Sainte-Lague, at least one row, and leaves at least one for training.

    Args:
        labels: `(n,)` labels, -1 for an unlabeled row.
        names: Names of the classes.
        per_class: Labels to keep per class; None for all of them.
        num_validation: How many of these are for validation; None for the validation split instead.
        seed: Seed of the choice.

    Returns:
        The rows for training and for validation.

    Raises:
        InputError: A class has too few labels, or the labels are too few for both purposes.
    """
    classes, sizes = np.unique(labels[labels != UNLABELED], return_counts=True)
    for label, size in zip(classes, sizes, strict=True):
        if per_class is not None and size < per_class:
            raise InputError(
                f"--data.labels_per_class {per_class}: class '{names[label]}' has only {size} labeled training rows"
            )
    ranks = np.empty(len(labels), np.int64)  # of each row in its class
    for label in classes:
        rows = np.flatnonzero(labels == label)
        ranks[_shuffled(rows, seed, CHOICE_STREAM, int(label))] = np.arange(len(rows))
    given = np.flatnonzero((labels != UNLABELED) & (ranks < (per_class or len(labels))))
    if not num_validation:
        return ChosenLabels(given, None if num_validation is None else given[:0])
    rank, size = ranks[given], np.bincount(labels[given])[labels[given]]
    if size.min() < 2 or not len(classes) <= num_validation <= len(given) - len(classes):
        fewest = names[labels[given][size.argmin()]]
        raise InputError(
            f"--data.validation_labels {num_validation}: {len(given)} labels are given, {size.min()} of them of class "
            f"'{fewest}', and each of the {len(classes)} classes needs one at least for training and one for "
            "validation (0: no validation)"
        )
    turns = np.where(rank == 0, 0, np.where(rank == size - 1, np.inf, (rank + 0.5) / size))
    first = np.lexsort((labels[given], turns))[:num_validation]
    return ChosenLabels(np.delete(given, first), np.sort(given[first]))


def _shuffled(rows: NDArray[np.int64], seed: int, stream: int, label: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, stream, label)).permutation(rows)
