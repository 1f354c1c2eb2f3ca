"""The built-in corpus: generated reviews that show the method at work in minutes. No real text is in it.

Several hundred sentiment words and phrases, drawn by Zipf's law, carry a review's polarity and keep company with one
another. A few hundred labeled reviews show a part of them only; which side the others are on can be learned from the
unlabeled reviews.
"""

import random
import re
from collections.abc import Sequence
from importlib import resources
from itertools import accumulate, product
from typing import Any

import yaml

from textadv.corpus.rows import Corpus, Rows

WORDS: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath("builtin.yaml").read_bytes())

CLASSES = ("neg", "pos")
SIZES = {"train": 200, "unlabeled": 20_000, "validation": 500, "test": 2000}
LENGTHS = range(15, 41)  # words of a review
PEOPLE, PLACES = 100, 50  # invented names, most of them rare
ZIPF_EXPONENT = 0.4  # weight of the entry of rank k is k ** -ZIPF_EXPONENT
DOMAIN_SHARE = 0.4  # of the adjectives are the domain's own
PHRASE_SHARE = 0.15  # of the predicates are phrases, the rest adjectives

# What the sentences of a review are, before they are shuffled: (o)wn polarity, (n)eutral, (s)tray: the other polarity.
PLANS = ("oo", "oon", "ooo", "ooon", "ooos")

KINDS = {"statements": 0.88, "negations": 0.05, "contrasts": 0.07}  # of sentences with a polarity

Shares = Sequence[tuple[Sequence[str], float]]  # ranked lists, each with its share of the draws
Choice = tuple[list[str], list[float]]  # entries to draw from, each with the sum of the weights up to it

_SLOT = re.compile(r"\{(anti_)?(\w+)\}")


def build_corpus(seed: int = 0) -> Corpus:
    """Generate the built-in corpus.

    Args:
        seed: Seed of everything: the invented names, the reviews and the order of their labels.

    Returns:
        The corpus with the classes `neg` and `pos`; every split is balanced and no text occurs twice. Equal seeds give
        equal corpora.
    """
    writer = _Writer(random.Random(seed))
    splits = {}
    for name, size in SIZES.items():
        labels = [index % len(CLASSES) for index in range(size)]
        writer.rng.shuffle(labels)
        texts = [writer.new_review(label) for label in labels]
        splits[name] = Rows(texts, [-1] * size if name == "unlabeled" else labels)
    return Corpus(CLASSES, splits, report={})


def _adverb(adjective: str) -> str:
    if adjective.endswith("le"):
        return adjective[:-1] + "y"
    if adjective.endswith("ic"):
        return adjective + "ally"
    return re.sub("y$", "i", adjective) + "ly"


def _quality(adjective: str) -> str:
    return re.sub("y$", "i", adjective) + "ness"


def _sentiment(domain: dict[str, Any], polarity: str) -> dict[str, Shares]:
    """What the slots of one polarity are filled from in a domain."""
    adjectives = (domain["adjectives"][polarity], DOMAIN_SHARE), (WORDS["adjectives"][polarity], 1 - DOMAIN_SHARE)
    regular = [([word for word in entries if len(word) > 4], share) for entries, share in adjectives]
    adverbs = dict.fromkeys([*WORDS["adverbs"][polarity], *(_adverb(word) for word in regular[1][0])])
    predicates = [(entries, share * (1 - PHRASE_SHARE)) for entries, share in adjectives]
    return {
        "adjective": adjectives,
        "predicate": [*predicates, (WORDS["predicates"][polarity], PHRASE_SHARE)],
        "quality": [([_quality(word) for word in entries], share) for entries, share in regular],
        "adverb": [(list(adverbs), 1)],
        "label": [(WORDS["labels"][polarity], 1)],
        "felt": [(WORDS["feelings"][polarity], 1)],
        "verdict": [(WORDS["verdicts"][polarity], 1)],
    }


def _zipf(*shares: tuple[Sequence[str], float]) -> Choice:
    """A mixture of ranked lists with the given shares; within a list the ranks follow Zipf's law."""
    entries: list[str] = []
    weights: list[float] = []
    for names, share in shares:
        raw = [rank**-ZIPF_EXPONENT for rank in range(1, len(names) + 1)]
        entries += names
        weights += [share * weight / sum(raw) for weight in raw]
    return entries, list(accumulate(weights))


class _Writer:
    """Writes reviews, no two alike."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._written: set[str] = set()
        neutral = {"plain": "plain", "job": "jobs", "who": "companions", "when": "times"}
        shared = {
            "name": _zipf((self._names("people", PEOPLE), 1)),
            "place": _zipf((self._names("places", PLACES), 1)),
        }
        shared |= {slot: _zipf((WORDS[words], 1)) for slot, words in neutral.items()}
        self._domains: list[tuple[list[str], list[dict[str, Choice]]]] = []
        for domain in WORDS["domains"].values():
            own = {"thing": domain["things"], "noun": domain["nouns"], "done": domain["done"]}
            both = shared | {slot: _zipf((words, 1)) for slot, words in own.items()}
            sides = [
                both | {slot: _zipf(*shares) for slot, shares in _sentiment(domain, polarity).items()}
                for polarity in CLASSES
            ]
            self._domains.append((domain["facts"] + WORDS["remarks"], sides))

    def _names(self, kind: str, size: int) -> list[str]:
        return self.rng.sample(["".join(name) for name in product(*WORDS[kind])], size)

    def new_review(self, label: int) -> str:
        """A review of this class that was not written before."""
        while True:
            text = self._review(label)
            if text not in self._written and len(text.split()) in LENGTHS:
                self._written.add(text)
                return text

    def _review(self, label: int) -> str:
        neutral, slots = self.rng.choice(self._domains)
        plan = list(self.rng.choice(PLANS))
        self.rng.shuffle(plan)
        used: set[str] = set()
        sentences = []
        for part in plan:
            kinds = self.rng.choices(list(KINDS), weights=list(KINDS.values())) if part != "n" else []
            template = self.rng.choice(WORDS[kinds[0]] if kinds else neutral)
            side = 1 - label if part == "s" else label
            sentences.append(_sentence(self._fill(template, slots[side], slots[1 - side], used)))
        return " ".join(sentences)

    def _fill(self, template: str, own: dict[str, Choice], other: dict[str, Choice], used: set[str]) -> str:
        """The template with its slots filled; no filler occurs twice in a review."""

        def fill(slot: re.Match[str]) -> str:
            entries, cumulative = (other if slot[1] else own)[slot[2]]
            while (filler := self.rng.choices(entries, cum_weights=cumulative)[0]) in used:
                pass
            used.add(filler)
            return filler

        return _SLOT.sub(fill, template)


def _sentence(clause: str) -> str:
    """The clause with its articles, its capitals and its full stop."""
    clause = re.sub(r"\ba (?=[aeiou])", "an ", clause)
    clause = re.sub(r"\bi\b", "I", clause)
    return clause[0].upper() + clause[1:] + "."
