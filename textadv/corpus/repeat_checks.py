"""The checks for texts that repeat one another: within a split, between splits, and under different labels."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.checks import MANY_REPEATS, Check, Parts
from textadv.corpus.repeats import Fingerprints, fingerprints, near_groups
from textadv.corpus.rows import UNLABELED, NamedRows
from textadv.corpus.splits import TRAINING
from textadv.corpus.store import SPLITS
from textadv.system.progress import progress


@dataclass(frozen=True)
class Texts:
    """All texts that can be used, one after another.

    Attributes:
        parts: The split and the rows of each file.
        splits: `(n,)` index into `SPLITS`.
        names: Class names.
        labels: `(n,)` index into `names`, -1 for an unlabeled text.
        prints: Fingerprints of the texts.
        groups: `(n,)` a number per text, the same for those that are nearly equal.
    """

    parts: list[tuple[str, NamedRows]]
    splits: NDArray[np.int64]
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    prints: Fingerprints
    groups: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Parts) -> "Texts":
        """Read the texts once."""
        files = [(split, part) for split in SPLITS for part in parts.get(split, ())]
        names = sorted({name for _, part in files for name in part.names if name is not None})
        index: dict[str | None, int] = {None: UNLABELED} | {name: i for i, name in enumerate(names)}
        total = sum(len(part.texts) for _, part in files)
        texts = progress(chain.from_iterable(part.texts for _, part in files), total, "looking for repeated texts")
        prints = fingerprints(texts)
        return cls(
            parts=files,
            splits=np.array([SPLITS.index(split) for split, part in files for _ in part.texts], np.int64),
            names=tuple(names),
            labels=np.array([index[name] for _, part in files for name in part.names], np.int64),
            prints=prints,
            groups=near_groups(prints),
        )

    def place(self, index: int) -> str:
        """Say where a text stands."""
        for _, part in self.parts:
            if index < len(part.texts):
                return part.place(index)
            index -= len(part.texts)
        raise IndexError(index)

    def rows(self, *splits: str) -> NDArray[np.int64]:
        """Indices of the texts of some splits."""
        return np.flatnonzero(np.isin(self.splits, [SPLITS.index(split) for split in splits]))


def check_repeats(texts: Texts) -> Check:
    """How many texts repeat an earlier one of their split word for word."""
    return _repeats(texts, texts.prints.exact, np.arange(len(texts.splits)), "repeats")


def check_near_repeats(texts: Texts) -> Check:
    """How many different texts are nearly the same as an earlier one of their split."""
    of_split = np.stack([texts.splits.astype(np.uint64), texts.prints.exact], 1)
    _, different = np.unique(of_split, axis=0, return_index=True)
    return _repeats(texts, texts.groups, np.sort(different), "near repeats")


def check_leaks(texts: Texts, keep_duplicates: bool) -> Check:
    """How many different texts that are held out stand in another split as well."""
    counts, example = _shared(texts, texts.prints.exact)
    advice = "kept in training" if keep_duplicates else "left out of training"
    return _leaks("leaks", counts, example, advice)


def check_near_leaks(texts: Texts) -> Check:
    """How many different texts that are held out do not stand in another split, but nearly do."""
    counts, example = _shared(texts, texts.groups)
    return _leaks("near leaks", counts, example, "kept in training")


def check_contradictions(texts: Texts) -> Check:
    """How many different texts have more than one label."""
    labeled = np.flatnonzero(texts.labels != UNLABELED)
    pairs = np.stack([texts.prints.exact[labeled], texts.labels[labeled].astype(np.uint64)], 1)
    distinct, first = np.unique(pairs, axis=0, return_index=True)
    _, start, counts = np.unique(distinct[:, 0], return_index=True, return_counts=True)
    found = start[counts > 1]
    if not len(found):
        return Check("conflicts", "ok", "none", {"texts": 0})
    one, other = min(sorted(labeled[first[place : place + 2]].tolist()) for place in found)
    names = [texts.names[texts.labels[row]] for row in (one, other)]
    example = f"{texts.place(one)}: {names[0]}; {texts.place(other)}: {names[1]}"
    return Check(
        "conflicts", "look", f"equal texts with different labels: {len(found):,}", {"texts": len(found)}, example
    )


def _repeats(texts: Texts, keys: NDArray[Any], rows: NDArray[np.int64], name: str) -> Check:
    """Count, in each split, the texts with the key of an earlier one."""
    counts: dict[str, int] = {}
    example = None
    for split in SPLITS:
        own = np.intersect1d(texts.rows(split), rows)
        _, first, inverse = np.unique(keys[own], return_index=True, return_inverse=True)
        later = np.setdiff1d(np.arange(len(own)), first)
        if len(later):
            counts[split] = len(later)
            example = example or _pair(texts, own[later[0]], own[first[inverse[later[0]]]])
    many = sum(counts.values()) > MANY_REPEATS * len(rows)
    message = ", ".join(f"{number:,} of {split}" for split, number in counts.items())
    return Check(name, "look" if many else "ok", message or "none", counts, example)


def _shared(texts: Texts, keys: NDArray[Any]) -> tuple[dict[str, int], str | None]:
    """Count the texts of a split with the key of one of another split; of groups, those with no equal text there."""
    exact = texts.prints.exact
    counts: dict[str, int] = {}
    example = None
    for base, others in (("test", (*TRAINING, "validation")), ("validation", TRAINING)):
        for other in others:
            own, there = texts.rows(base), texts.rows(other)
            found = own[np.isin(keys[own], keys[there])]
            if keys is not exact:
                found = found[~np.isin(exact[found], exact[there])]
            if len(found):
                counts[f"{base} in {other}"] = len(np.unique(exact[found]))
                twin = there[np.flatnonzero(keys[there] == keys[found[0]])[0]]
                example = example or _pair(texts, found[0], twin)
    return counts, example


def _pair(texts: Texts, one: int, other: int) -> str:
    return f"{texts.place(one)} and {texts.place(other)}"


def _leaks(name: str, counts: dict[str, int], example: str | None, advice: str) -> Check:
    if not counts:
        return Check(name, "ok", "none", counts)
    message = ", ".join(f"{number:,} of {pair}" for pair, number in counts.items())
    concerns_training = any(pair.endswith(TRAINING) for pair in counts)
    return Check(name, "look", message, counts, f"{advice}: {example}" if concerns_training else example)
