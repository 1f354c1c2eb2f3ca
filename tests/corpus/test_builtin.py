import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

import pytest

from textadv.corpus import builtin
from textadv.corpus.builtin import CLASSES, WORDS, build_corpus
from textadv.corpus.rows import Corpus, Rows


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return build_corpus(0)


def _lexicon(polarity: str) -> frozenset[str]:
    """Words and phrases of a polarity, in lower case."""
    slots = (builtin._sentiment(domain, polarity) for domain in WORDS["domains"].values())
    return frozenset(
        entry for shares in slots for ranked in shares.values() for entries, _ in ranked for entry in entries
    )


NEGATIVE, POSITIVE = map(_lexicon, CLASSES)


def _words(rows: Rows) -> Counter[str]:
    return Counter(word for text in rows.texts for word in re.findall(r"[a-z]+", text.lower()))


def _sentiment_words(rows: Rows) -> set[str]:
    return (NEGATIVE | POSITIVE) & _words(rows).keys()


def _score(text: str) -> int:
    """Positive minus negative words of the lexicon: what a count of words would say."""
    found = re.findall(r"[a-z]+", text.lower())
    return sum((word in POSITIVE) - (word in NEGATIVE) for word in found)


def test_has_the_four_splits_of_the_stated_sizes(corpus: Corpus) -> None:
    assert {name: len(rows.texts) for name, rows in corpus.splits.items()} == builtin.SIZES
    assert set(corpus.splits) == {"train", "unlabeled", "validation", "test"}
    assert corpus.classes == ("neg", "pos")


def test_classes_are_balanced_and_unlabeled_rows_have_none(corpus: Corpus) -> None:
    for name, rows in corpus.splits.items():
        half = len(rows.texts) // 2
        assert Counter(rows.labels) == ({-1: 2 * half} if name == "unlabeled" else {0: half, 1: half})


def test_labels_are_shuffled(corpus: Corpus) -> None:
    labels = corpus.splits["train"].labels
    assert 0.3 < sum(a != b for a, b in pairwise(labels)) / len(labels) < 0.7


def test_is_always_the_same_to_the_byte(corpus: Corpus) -> None:
    """What the documents say of it holds for these texts only."""
    content = json.dumps([(name, rows.texts, rows.labels) for name, rows in corpus.splits.items()]).encode()
    assert hashlib.sha256(content).hexdigest() == "48715c972f218f50aeefa2d7129ca7d88f88c25085cb7ccc83079dbabaf858c9"
    assert build_corpus(0) == corpus


def test_all_words_are_strings() -> None:
    """YAML reads some as something else."""

    def leaves(value: Any) -> Iterator[Any]:
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return chain.from_iterable(map(leaves, values)) if isinstance(value, dict | list) else iter([value])

    assert {type(word) for word in leaves(WORDS)} == {str}


def test_seeds_share_no_review_but_by_chance(corpus: Corpus) -> None:
    other = build_corpus(1)
    shared = set(corpus.splits["unlabeled"].texts) & set(other.splits["unlabeled"].texts)
    assert len(shared) < 10


def test_builds_in_seconds() -> None:
    start = time.process_time()
    build_corpus(2)
    assert time.process_time() - start < 5


def test_no_text_occurs_twice(corpus: Corpus) -> None:
    texts = [text for rows in corpus.splits.values() for text in rows.texts]
    assert len(set(texts)) == len(texts)


def test_reviews_are_short_english_looking_text(corpus: Corpus) -> None:
    for rows in corpus.splits.values():
        for text in rows.texts:
            assert 15 <= len(text.split()) <= 40
            assert 2 <= text.count(".") <= 4
            assert re.fullmatch(r"([A-Z][A-Za-z, ]*\.)( [A-Z][A-Za-z, ]*\.)*", text), text  # every slot is filled
            assert not re.search(r"\b(a [aeiou]|an [^aeiou]|i)\b", text), text


def test_lexicon_has_hundreds_of_entries_on_each_side_and_none_on_both() -> None:
    assert min(len(NEGATIVE), len(POSITIVE)) >= 300
    assert not NEGATIVE & POSITIVE


def test_neutral_sentences_hold_no_word_of_the_lexicon() -> None:
    neutral = [entry for kind in ("remarks", "plain", "jobs", "companions", "times") for entry in WORDS[kind]]
    for domain in WORDS["domains"].values():
        neutral += [entry for kind in ("things", "nouns", "done", "facts") for entry in domain[kind]]
    assert not (NEGATIVE | POSITIVE) & {word for entry in neutral for word in entry.lower().split()}


def test_vocabulary_has_two_thousand_words_many_of_them_rare(corpus: Corpus) -> None:
    counts = _words(Rows([text for rows in corpus.splits.values() for text in rows.texts], []))
    assert 1800 <= len(counts) <= 2500
    assert sum(count < 100 for count in counts.values()) > 300
    assert 500_000 <= sum(counts.values()) <= 700_000


def test_unlabeled_text_holds_the_sentiment_words_that_the_labeled_text_lacks(corpus: Corpus) -> None:
    train, unlabeled, test = (_sentiment_words(corpus.splits[name]) for name in ("train", "unlabeled", "test"))
    assert len(test & train) > 0.2 * len(test)
    assert len((test & unlabeled) - train) > 0.25 * len(test)


def test_sentiment_words_mostly_agree_with_the_label(corpus: Corpus) -> None:
    rows = corpus.splits["test"]
    wrong = sum((_score(text) > 0) != bool(label) for text, label in zip(rows.texts, rows.labels, strict=True))
    assert 0.01 < wrong / len(rows.texts) < 0.12  # counting words with the whole lexicon: good, not perfect


def test_sentiment_words_of_one_review_keep_company(corpus: Corpus) -> None:
    lexicon = NEGATIVE | POSITIVE
    same = other = 0
    for text in corpus.splits["unlabeled"].texts:
        sides = [word in POSITIVE for word in re.findall(r"[a-z]+", text.lower()) if word in lexicon]
        agree = sum(a == b for a, b in pairwise(sides))
        same, other = same + agree, other + max(len(sides) - 1, 0) - agree
    assert same > 3 * other


@pytest.mark.parametrize("pattern", [r"was not (\w+) at all", r"(\w+) at first, but", r"nothing (\w+) about"])
def test_negated_and_contrasted_words_are_on_the_other_side(corpus: Corpus, pattern: str) -> None:
    sides = (NEGATIVE, POSITIVE)
    rows = corpus.splits["test"]
    agree = disagree = 0
    for text, label in zip(rows.texts, rows.labels, strict=True):
        for match in re.finditer(pattern, text):
            word = match[1].lower()
            agree, disagree = agree + (word in sides[label]), disagree + (word in sides[1 - label])
    assert disagree > 20
    assert disagree > 5 * agree  # only a stray sentence is negated the other way round
