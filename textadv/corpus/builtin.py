"""The built-in corpus: generated reviews that show the method at work in minutes. No real text is in it.

Several hundred sentiment words and phrases, drawn by Zipf's law, carry a review's polarity and keep company with one
another. A few hundred labeled reviews show a part of them only; which side the others are on can be learned from the
unlabeled reviews.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, product

from textadv.corpus import builtin_words as words
from textadv.corpus.rows import Corpus, Rows

CLASSES = ("neg", "pos")
SIZES = {"train": 200, "unlabeled": 20_000, "validation": 500, "test": 2000}
LENGTHS = range(15, 41)  # words of a review
PEOPLE, PLACES = 100, 50  # invented names, most of them rare
ZIPF_EXPONENT = 0.4  # weight of the entry of rank k is k ** -ZIPF_EXPONENT
DOMAIN_SHARE = 0.4  # of the adjectives are the domain's own
PHRASE_SHARE = 0.15  # of the predicates are phrases, the rest adjectives

# What the sentences of a review are, before they are shuffled: (o)wn polarity, (n)eutral, (s)tray: the other polarity.
PLANS = ("oo", "oon", "ooo", "ooon", "ooos")

# Slots: {adjective}, {label} ... have the sentence's polarity, {anti_adjective} ... the other one; the rest is neutral.
STATEMENTS = (
    "the {noun} was {predicate}",
    "the {noun} was {adjective} and {adjective}",
    "the {noun} was {adverb} {adjective}",
    "the {noun} and the {noun} were {adverb} {adjective}",
    "{adjective} {noun} and {adverb} {adjective} {noun}",
    "i found the {noun} {adverb} {adjective}",
    "a {adjective} {thing} with a {adverb} {done} {noun}",
    "{adverb} {done} and {adverb} {adjective}",
    "this {adjective} {thing} is a {label}",
    "what a {adverb} {adjective} {thing}",
    "i {felt} the {quality} of the {noun}",
    "{who} {felt} the {adverb} {done} {noun}",
    "the {quality} and the {quality} of the {noun} struck us",
    "so much {quality} and {quality} in one {thing}",
    "{adjective}, {adjective} and full of {quality}",
    "the {noun} was {adjective} and {verdict}",
    "all in all a {label}, and {verdict}",
)
NEGATIONS = (
    "the {noun} was not {anti_adjective} at all",
    "the {noun} was never {anti_adjective}",
    "there is nothing {anti_adjective} about the {noun}",
    "it is hardly a {anti_label}",
    "there is no {anti_quality} in the {noun}",
)
CONTRASTS = (  # the clause that is not conceded decides
    "{anti_adjective} at first, but the {noun} was {adjective} and {adjective}",
    "the {noun} was {anti_adjective}, but the {thing} as a whole is {adjective}",
    "the {noun} seemed {anti_adjective} in the beginning, but {verdict}",
    "although the {noun} was {anti_adjective}, the {thing} is a {label}",
    "despite the {anti_quality} of the {noun} {verdict}",
)
KINDS = {STATEMENTS: 0.88, NEGATIONS: 0.05, CONTRASTS: 0.07}

Shares = Sequence[tuple[Sequence[str], float]]  # ranked lists, each with its share of the draws

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


def sentiment_lexicon() -> tuple[frozenset[str], frozenset[str]]:
    """Negative and positive words and phrases, in lower case; no entry is on both sides."""
    negative, positive = (
        frozenset(
            entry
            for domain in words.DOMAINS
            for ranked in _sentiment(domain, side).values()
            for entries, _ in ranked
            for entry in entries
        )
        for side in range(len(CLASSES))
    )
    return negative, positive


def _adverb(adjective: str) -> str:
    if adjective.endswith("le"):
        return adjective[:-1] + "y"
    if adjective.endswith("ic"):
        return adjective + "ally"
    return re.sub("y$", "i", adjective) + "ly"


def _quality(adjective: str) -> str:
    return re.sub("y$", "i", adjective) + "ness"


def _sentiment(domain: words.Domain, side: int) -> dict[str, Shares]:
    """What the slots of one polarity (0 negative, 1 positive) are filled from in a domain."""
    general, own = words.ADJECTIVES[side], domain.adjectives[side]
    adjectives = (own, DOMAIN_SHARE), (general, 1 - DOMAIN_SHARE)
    regular = [([word for word in entries if len(word) > 4], share) for entries, share in adjectives]
    adverbs = dict.fromkeys([*words.ADVERBS[side], *(_adverb(word) for word in regular[1][0])])
    return {
        "adjective": list(adjectives),
        "predicate": [
            *((e, share * (1 - PHRASE_SHARE)) for e, share in adjectives),
            (words.PREDICATES[side], PHRASE_SHARE),
        ],
        "quality": [([_quality(word) for word in entries], share) for entries, share in regular],
        "adverb": [(list(adverbs), 1)],
        "label": [(words.LABELS[side], 1)],
        "felt": [(words.FEELINGS[side], 1)],
        "verdict": [(words.VERDICTS[side], 1)],
    }


@dataclass(frozen=True)
class _Choice:
    """Entries to draw from, each with the sum of the weights up to it."""

    entries: list[str]
    cumulative: list[float]

    def draw(self, rng: random.Random) -> str:
        return rng.choices(self.entries, cum_weights=self.cumulative)[0]


def _zipf(shares: Shares) -> _Choice:
    """A mixture of ranked lists with the given shares; within a list the ranks follow Zipf's law."""
    entries: list[str] = []
    weights: list[float] = []
    for names, share in shares:
        raw = [rank**-ZIPF_EXPONENT for rank in range(1, len(names) + 1)]
        entries += names
        weights += [share * weight / sum(raw) for weight in raw]
    return _Choice(entries, list(accumulate(weights)))


def _names(rng: random.Random, parts: tuple[tuple[str, ...], ...], size: int) -> list[str]:
    return rng.sample(["".join(name) for name in product(*parts)], size)


def _domain_slots(domain: words.Domain, side: int, shared: dict[str, _Choice]) -> dict[str, _Choice]:
    """All the slots of a sentence of this domain and polarity."""
    neutral = {"thing": domain.things, "noun": domain.nouns, "done": domain.done}
    return (
        shared
        | {slot: _zipf([(entries, 1)]) for slot, entries in neutral.items()}
        | {slot: _zipf(shares) for slot, shares in _sentiment(domain, side).items()}
    )


class _Writer:
    """Writes reviews, no two alike."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._written: set[str] = set()
        shared = {
            "name": _zipf([(_names(rng, words.PEOPLE, PEOPLE), 1)]),
            "place": _zipf([(_names(rng, words.PLACES, PLACES), 1)]),
            "plain": _zipf([(words.PLAIN, 1)]),
            "job": _zipf([(words.JOBS, 1)]),
            "who": _zipf([(words.COMPANIONS, 1)]),
            "when": _zipf([(words.TIMES, 1)]),
        }
        self._domains = [
            (domain.facts + words.REMARKS, [_domain_slots(domain, side, shared) for side in range(len(CLASSES))])
            for domain in words.DOMAINS
        ]

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
            template = self.rng.choice(neutral if part == "n" else self._kind())
            side = 1 - label if part == "s" else label
            sentences.append(_sentence(self._fill(template, slots[side], slots[1 - side], used)))
        return " ".join(sentences)

    def _kind(self) -> tuple[str, ...]:
        return self.rng.choices(list(KINDS), weights=list(KINDS.values()))[0]

    def _fill(self, template: str, own: dict[str, _Choice], other: dict[str, _Choice], used: set[str]) -> str:
        """The template with its slots filled; no filler occurs twice in a review."""

        def fill(slot: re.Match[str]) -> str:
            choice = (other if slot[1] else own)[slot[2]]
            while (filler := choice.draw(self.rng)) in used:
                pass
            used.add(filler)
            return filler

        return _SLOT.sub(fill, template)


def _sentence(clause: str) -> str:
    """The clause with its articles, its capitals and its full stop."""
    clause = re.sub(r"\ba (?=[aeiou])", "an ", clause)
    clause = re.sub(r"\bi\b", "I", clause)
    return clause[0].upper() + clause[1:] + "."
