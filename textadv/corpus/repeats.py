"""Texts that repeat one another, word for word or nearly so, found from 136 bytes per text."""

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

# Of a text in lower case, in UTF-8: letters and digits, and all that is not ASCII.
WORD = re.compile(rb"[0-9a-z\x80-\xff]+")
HASHES, BANDS = 32, 8
SIMILARITY = 0.7  # of two texts of 30 words, one of which is another word: 0.88
BLOCK = 4096  # pairs of words hashed at once, so that a long text needs no memory of its own
EDGE = 0  # stands before the first word and behind the last one

_RANDOM = np.random.default_rng(0)
_FACTORS = _RANDOM.integers(2**63, size=(HASHES, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _RANDOM.integers(2**63, size=(HASHES, 1), dtype=np.uint64)
_PAIR = _RANDOM.integers(2**63, size=2, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_BAND = _RANDOM.integers(2**63, size=HASHES // BANDS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


@dataclass(frozen=True)
class Fingerprints:
    """What is kept of `n` texts.

    Attributes:
        exact: `(n,)`, equal for equal texts.
        sketch: `(n, HASHES)`, MinHash (Broder 1997) of the set of pairs of neighbouring words, whatever their case and
            the punctuation between them. The share of equal numbers estimates the Jaccard similarity of two such sets.
            All zeros for a text without words.
    """

    exact: NDArray[np.uint64]
    sketch: NDArray[np.uint32]


def fingerprints(texts: Iterable[str]) -> Fingerprints:
    """Read texts one by one and keep what tells which of them are alike.

    Args:
        texts: The texts.

    Returns:
        Their fingerprints, the same in every process.
    """
    exact, sketches = [], [np.zeros((0, HASHES), np.uint32)]
    for text in texts:
        exact.append(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"))
        sketches.append(_sketch(text)[None])
    return Fingerprints(np.array(exact, np.uint64), np.concatenate(sketches))


def near_groups(prints: Fingerprints) -> NDArray[np.int64]:
    """Put texts together that are nearly the same, by an estimated similarity of `SIMILARITY` or more.

    Candidates are texts that agree on one of the `BANDS` parts of their sketches, each compared to the first one that
    does: the work grows with the number of texts, however many of them are alike.

    Args:
        prints: Fingerprints of `n` texts.

    Returns:
        `(n,)` a number per text, the same for those that are equal or nearly so.
    """
    _, first, place = np.unique(prints.exact, return_index=True, return_inverse=True)
    sketch = prints.sketch[first]
    rows = np.arange(len(first))
    parents = rows.copy()
    for band in np.split(sketch, BANDS, axis=1):
        _, heads, of_row = np.unique((band * _BAND).sum(1, dtype=np.uint64), return_index=True, return_inverse=True)
        head = heads[of_row]
        candidates = rows[(head != rows) & sketch.any(1)]
        alike = (sketch[candidates] == sketch[head[candidates]]).mean(1) >= SIMILARITY
        for row in candidates[alike]:
            one, other = sorted((_root(parents, row), _root(parents, head[row])))
            parents[other] = one
    return np.array([_root(parents, row) for row in rows], np.int64)[place]


def _root(parents: NDArray[np.int64], row: np.intp | int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return int(row)


def _sketch(text: str) -> NDArray[np.uint32]:
    found = WORD.findall(text.lower().encode())
    least = np.full(HASHES, 2**32 - 1 if found else 0, np.uint32)
    if found:
        words = np.array([EDGE, *map(zlib.crc32, found), EDGE], np.uint64)
        pairs = words[:-1] * _PAIR[0] + words[1:] * _PAIR[1]
        pairs ^= pairs >> np.uint64(32)  # else the low bits of a product depend on the low bits of its factors only
        for start in range(0, len(pairs), BLOCK):
            hashes = (pairs[start : start + BLOCK] * _FACTORS + _OFFSETS) >> np.uint64(32)
            least = np.minimum(least, hashes.min(1).astype(np.uint32))
    return least
