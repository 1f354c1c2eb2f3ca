"""Fingerprints against what they stand for: equality of texts, and the Jaccard similarity of their pairs of words."""

import random
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from textadv.corpus import repeats
from textadv.corpus.repeats import HASHES, WORD, fingerprints, near_groups

WORDS = [f"word{i}" for i in range(2000)]


def text(seed: int, length: int = 100) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def jaccard(one: str, other: str) -> float:
    """Of the sets of pairs of neighbouring words, written out."""
    sets = []
    for content in (one, other):
        words = [b"", *WORD.findall(content.lower().encode()), b""]
        sets.append(set(pairwise(words)))
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_equal_texts_have_equal_fingerprints() -> None:
    prints = fingerprints(["a b", "a  b", "a b", "A b.", "", "!", "\U0001f600", "\U0001f600"])
    assert len(set(prints.exact.tolist())) == 6
    assert prints.exact[0] == prints.exact[2]
    assert near_groups(prints).tolist()[:4] == [near_groups(prints)[0]] * 4
    assert len(set(near_groups(prints).tolist())) == 4  # texts without words are alike only where they are equal


def test_the_sketch_estimates_the_similarity_of_sets_of_pairs_of_words() -> None:
    errors = []
    for seed in range(40):
        one = text(seed)
        other = " ".join([*one.split()[: 25 + 2 * seed], *text(1000 + seed, 75 - 2 * seed if seed < 37 else 1).split()])
        sketch = fingerprints([one, other]).sketch
        errors.append((sketch[0] == sketch[1]).mean() - jaccard(one, other))
    assert abs(np.mean(errors)) < 0.03
    assert np.std(errors) < 1.5 * np.sqrt(0.25 / HASHES)


def test_texts_with_few_changes_are_near_and_others_are_not() -> None:
    words = text(1).split()
    near = [" ".join([*words[:i], "changed", *words[i + 1 :]]) for i in range(0, 100, 10)]
    assert all(jaccard(text(1), other) > 0.95 for other in near)
    half = " ".join([*words[:50], *text(2, 50).split()])
    groups = near_groups(fingerprints([text(1), *near, half, *(text(seed) for seed in range(3, 300))])).tolist()
    assert len(set(groups[:11])) == 1
    assert len(set(groups[10:])) == len(groups[10:])


def test_a_long_text_is_hashed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    long = text(5, 1000)
    whole = fingerprints([long]).sketch
    monkeypatch.setattr(repeats, "BLOCK", 7)
    assert np.array_equal(fingerprints([long]).sketch, whole)


def test_no_texts() -> None:
    assert near_groups(fingerprints([])).tolist() == []


def test_fingerprints_are_those_of_every_process() -> None:
    """Python's own hashes differ from one to the next."""
    program = (
        "from textadv.corpus.repeats import *; p = fingerprints(['the film']); print(p.exact[0], *p.sketch[0, :3])"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    here = fingerprints(["the film"])
    assert printed.split() == [str(here.exact[0]), *map(str, here.sketch[0, :3])]
