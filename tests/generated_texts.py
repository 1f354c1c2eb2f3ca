"""Corpora in the statistics of real ones: news of four topics, and support requests of three uneven teams.

A text belongs to one or two subjects of its class. A subject has several hundred words of its own, drawn by Zipf's law,
so that a few hundred labels show a part of them only: which class the others belong to can be learned from the company
that they keep in unlabeled text. Most words are common to all classes, some are strays from other classes.
"""

import csv
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

SYLLABLES = [first + vowel for first in (*"bcdfghklmnprstvz", "br", "tr", "st", "pl") for vowel in "aeiou"]


@dataclass(frozen=True)
class Kind:
    """What a corpus is like."""

    shares: dict[str, float]  # of the classes
    sentences: tuple[int, int]  # of a text, the fewest and the most
    subjects: int = 6  # of a class
    words: int = 400  # of a subject
    common: int = 500  # words that all classes have
    topical: float = 0.4  # share of the words that are of a subject
    strays: float = 0.2  # share of the sentences that are about a subject of another class


TOPICS = Kind({"world": 0.25, "sports": 0.25, "business": 0.25, "science": 0.25}, (2, 5))
TEAMS = Kind({"billing": 0.70, "shipping": 0.22, "security": 0.08}, (1, 4))

Choice = tuple[list[str], list[float]]  # words to draw from, each with the sum of the weights up to it


class Writer:
    """Writes texts of one kind; equal seeds write equal texts."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind = kind
        self.rng = random.Random(seed)
        self._used: set[str] = set()
        self._common = self._choice(kind.common, 1.0)
        self._subjects = {name: [self._choice(kind.words, 0.8) for _ in range(kind.subjects)] for name in kind.shares}

    def _choice(self, count: int, exponent: float) -> Choice:
        """New words, drawn by Zipf's law."""
        words: list[str] = []
        while len(words) < count:
            word = "".join(self.rng.choices(SYLLABLES, k=self.rng.choice((2, 2, 3, 3, 4))))
            if word not in self._used:
                self._used.add(word)
                words.append(word)
        return words, list(accumulate(rank**-exponent for rank in range(1, count + 1)))

    def _word(self, choice: Choice) -> str:
        words, weights = choice
        return self.rng.choices(words, cum_weights=weights)[0]

    def _sentence(self, subject: Choice) -> str:
        topical = self.kind.topical
        words = [
            self._word(subject if self.rng.random() < topical else self._common) for _ in range(self.rng.randint(6, 16))
        ]
        return f"{' '.join(words).capitalize()}."

    def text(self, name: str) -> str:
        """A text of a class."""
        kind, rng = self.kind, self.rng
        own = rng.sample(self._subjects[name], rng.choice((1, 1, 2)))
        subjects = [
            rng.choice(self._subjects[rng.choice(list(kind.shares))] if rng.random() < kind.strays else own)
            for _ in range(rng.randint(*kind.sentences))
        ]
        return " ".join(map(self._sentence, subjects))

    def rows(self, count: int) -> list[tuple[str, str]]:
        """Texts with their classes, which come as often as they should."""
        names = self.rng.choices(list(self.kind.shares), list(self.kind.shares.values()), k=count)
        return [(self.text(name), name) for name in names]


@dataclass(frozen=True)
class Corpus:
    """The texts of one seed, with their classes."""

    train: list[tuple[str, str]]
    test: list[tuple[str, str]]
    raw: list[tuple[str, str]]

    def write(self, folder: Path, ending: str) -> None:
        """Write `train` and `test` of a kind of file, and `raw.jsonl` without classes."""
        for name, rows in (("train", self.train), ("test", self.test)):
            if ending == "csv":
                write_csv(folder / f"{name}.csv", rows, "body", "team")
            else:
                write_jsonl(folder / f"{name}.jsonl", rows, "body", "team")
        write_jsonl(folder / "raw.jsonl", self.raw, "body", None)


def corpus(kind: Kind, labels: int) -> Corpus:
    """The corpus that docs/OWN_DATA.md and its test measure on."""
    writer = Writer(kind, 0)
    return Corpus(train=writer.rows(labels), test=writer.rows(2000), raw=writer.rows(20_000))


def write_csv(path: Path, rows: Sequence[tuple[str, str]], text: str, label: str) -> None:
    """One row per text, with a number in front as exports have it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", text, label), *((i, *row) for i, row in enumerate(rows, 1))])


def write_jsonl(path: Path, rows: Sequence[tuple[str, str]], text: str, label: str | None) -> None:
    """One object per text; without labels where `label` is None."""
    records = [{text: content} | ({} if label is None else {label: name}) for content, name in rows]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    corpus(TOPICS, 400).write(folder, "csv")
