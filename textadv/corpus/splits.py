"""From named rows to the four splits of a corpus: canonical order, duplicates, the validation cut, label budgets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.rows import UNLABELED, Corpus, NamedRows, Rows
from textadv.errors import InputError

CUT_STREAM, CHOICE_STREAM = 0, 1  # independent random streams under one seed
TRAINING = ("train", "unlabeled")  # what a training may know, and the vocabulary


def build_corpus(
    parts: Mapping[str, Sequence[NamedRows]], seed: int, validation_fraction: float, keep_duplicates: bool
) -> Corpus:
    """Bring the rows of any source under one schema.

    Every split is sorted by text and label, so that a corpus does not depend on the order in which its source lists
    the rows. Training rows without a label go to `unlabeled`. Training and unlabeled texts that stand in test,
    or in a validation split of the source's own, are removed unless they are to be kept; where the source has none,
    validation is then cut from train.

    Args:
        parts: Files of each of `train`, `unlabeled`, `validation` and `test`; only `train` must be there.
        seed: Seed of the validation cut.
        validation_fraction: Share of each class that is cut off for validation.
        keep_duplicates: Keep training and unlabeled texts that stand in validation or test.

    Returns:
        The corpus.

    Raises:
        InputError: If there are fewer than two classes, a label is unknown or missing, or a class has too few rows.
    """
    classes = _classes(parts.get("train", ()))
    given = [row for part in parts["train"] for row in _pairs(part, classes, need_label=False)]
    hidden = [(text, UNLABELED) for part in parts.get("unlabeled", ()) for text in part.texts]
    splits = {
        "train": sorted(row for row in given if row[1] != UNLABELED),
        "unlabeled": sorted(hidden + [row for row in given if row[1] == UNLABELED]),
    }
    for name in ("validation", "test"):
        splits[name] = sorted(row for part in parts.get(name, ()) for row in _pairs(part, classes, need_label=True))

    report = {"train_rows_without_label": sum(label == UNLABELED for _, label in given)}
    report |= _shared_texts(splits, "test", (*TRAINING, "validation"))
    report |= _shared_texts(splits, "train", ("unlabeled",))
    report |= _shared_texts(splits, "validation", TRAINING)
    held_out = set() if keep_duplicates else {text for name in ("validation", "test") for text, _ in splits[name]}
    for name in TRAINING:
        kept = [row for row in splits[name] if row[0] not in held_out]
        report[f"{name}_rows_removed"] = len(splits[name]) - len(kept)
        splits[name] = kept
    if not splits["validation"]:
        train, validation = _cut(splits["train"], classes, seed, validation_fraction, parts["train"])
        splits |= {"train": train, "validation": validation}
        report |= _shared_texts(splits, "validation", TRAINING)
    present = {label for _, label in splits["train"]}
    for index, name in enumerate(classes):
        if index not in present:
            row = f"{_first_place(parts['train'], name)}: class '{name}' has no training row left"
            raise InputError(f"{row} that does not stand in validation or test")
    rows = {name: Rows([text for text, _ in split], [label for _, label in split]) for name, split in splits.items()}
    return Corpus(classes, rows, report)


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


def _classes(train: Iterable[NamedRows]) -> tuple[str, ...]:
    """Classes that train holds: in the declared order, else by number if all are integers, else by name."""
    train = list(train)
    if not any(part.texts for part in train):
        raise InputError("the training split holds no rows")
    names = {name for part in train for name in part.names if name is not None}
    if len(names) < 2:
        found = f"only the class '{next(iter(names))}'" if names else "no labels"
        raise InputError(f"{train[0].file}: the training split has {found}; two classes are needed at least")
    declared = [name for name in train[0].declared if name in names]
    if len(declared) == len(names):
        return tuple(declared)
    if all(name.lstrip("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name.lstrip("-")) * (-1) ** name.startswith("-"), name)))
    return tuple(sorted(names))


def _first_place(train: Sequence[NamedRows], name: str) -> str:
    """Where a class is met first."""
    return next(part.place(part.names.index(name)) for part in train if name in part.names)


def _pairs(part: NamedRows, classes: tuple[str, ...], need_label: bool) -> list[tuple[str, int]]:
    indices: dict[str | None, int] = {name: index for index, name in enumerate(classes)}
    if not need_label:
        indices[None] = UNLABELED
    for row, name in enumerate(part.names):
        if name not in indices:
            found = "no label" if name is None else f"label '{name}', which no training row has"
            raise InputError(f"{part.place(row)}: {found}")
    return [(text, indices[name]) for text, name in zip(part.texts, part.names, strict=True)]


def _shared_texts(splits: Mapping[str, list[tuple[str, int]]], base: str, others: Sequence[str]) -> dict[str, int]:
    """Count the unique texts of one split that stand in others."""
    texts = {text for text, _ in splits[base]}
    return {f"{base}_duplicates_in_{name}": len(texts & {text for text, _ in splits[name]}) for name in others}


def _cut(
    train: list[tuple[str, int]], classes: tuple[str, ...], seed: int, fraction: float, parts: Sequence[NamedRows]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Cut validation off train, stratified by class; all copies of a text go to the same side."""
    class_of = dict(reversed(train))  # of contradicting copies the first counts
    held_out: set[str] = set()
    for label, name in enumerate(classes):
        texts = sorted(text for text in class_of if class_of[text] == label)
        if len(texts) < 2:
            raise InputError(
                f"{_first_place(parts, name)}: class '{name}' has {len(texts)} training texts that do not stand in the "
                "test split; cutting validation off needs 2 (or give --data.validation)"
            )
        size = min(max(round(fraction * len(texts)), 1), len(texts) - 1)
        held_out.update(texts[i] for i in _shuffled(np.arange(len(texts)), seed, CUT_STREAM, label)[:size])
    kept = [row for row in train if row[0] not in held_out]
    return kept, [row for row in train if row[0] in held_out]


def _shuffled(rows: NDArray[np.int64], seed: int, stream: int, label: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, stream, label)).permutation(rows)
