"""The words of a corpus, counted in memory that does not grow with the text."""

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from textadv.corpus.spool import Row, SortedRows
from textadv.corpus.tokenization import EncodedDocuments

MOST_WORDS = 2**19  # in memory; they have about 150 MB
ROW_BYTES = 250  # of a word and its counts


class WordCounts:
    """How often each word stands in the text, and in how many documents."""

    def __init__(self, folder: Path | None) -> None:
        """Begin with no words.

        Args:
            folder: Where counts lie that are too many for memory; None for the system's folder of temporary files.
        """
        self._counts: dict[str, tuple[int, int]] = {}
        self._rows = SortedRows(folder, lambda row: ROW_BYTES)

    def add(self, words: Sequence[str], documents: EncodedDocuments, first: int) -> None:
        """Count the words of encoded documents.

        Args:
            words: What the ids from `first` on stand for.
            documents: The documents.
            first: The ids below it are no words.
        """
        size = first + len(words)
        counts = np.bincount(documents.tokens, minlength=size)
        pairs = np.repeat(np.arange(len(documents.lengths)) * size, documents.lengths) + documents.tokens
        pairs.sort()
        in_documents = np.bincount(pairs[np.diff(pairs, prepend=-1) > 0] % size, minlength=size)
        for word, count, number in zip(words, counts[first:].tolist(), in_documents[first:].tolist(), strict=True):
            if count:
                before = self._counts.get(word, (0, 0))
                self._counts[word] = (before[0] + count, before[1] + number)
        if len(self._counts) > MOST_WORDS:
            self._set_aside()

    def most_frequent(self, number: int, min_documents: int) -> list[str]:
        """The most frequent words, by falling count, then alphabet.

        Args:
            number: How many at most.
            min_documents: Words in fewer documents do not count.

        Returns:
            The words.
        """
        self._set_aside()
        chosen = ((-count, word) for word, count, documents in self._all() if documents >= min_documents)
        return [word for _, word in heapq.nsmallest(number, chosen)]

    def _set_aside(self) -> None:
        for word, counts in self._counts.items():
            self._rows.add((word, *counts))
        self._counts = {}

    def _all(self) -> Iterator[Row]:
        """Each word once, with its counts."""
        for word, rows in groupby(self._rows, key=itemgetter(0)):
            count = documents = 0
            for _, part_count, part_documents in rows:
                count += part_count
                documents += part_documents
            yield word, count, documents
