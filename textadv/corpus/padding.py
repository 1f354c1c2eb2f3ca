"""Documents of different lengths in one array. NumPy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.tokenization import PAD

Indices = NDArray[np.int64]


def pad(documents: Sequence[NDArray[np.generic]]) -> tuple[Indices, Indices]:
    """Documents, each ending in EOS, padded on the right to the longest of them.

    Args:
        documents: Token ids, at least one document.

    Returns:
        Tokens, shape (B, T), and the lengths without padding, (B,).
    """
    lengths = np.array([len(document) for document in documents], dtype=np.int64)
    tokens = np.full((len(documents), int(lengths.max())), PAD, dtype=np.int64)
    for row, document in zip(tokens, documents, strict=True):
        row[: len(document)] = document
    return tokens, lengths


def sequential_batches(lengths: Indices, batch_tokens: int) -> list[Indices]:
    """Every document once, batched by length under a budget of padded tokens, for evaluation.

    Args:
        lengths: Tokens of each document, shape (n,).
        batch_tokens: Upper bound on rows times longest row; a single longer document is a batch of its own.

    Returns:
        Row indices of each batch, the longest documents first.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = max(1, batch_tokens // int(lengths[order[start]]))
        batches.append(order[start : start + rows])
        start += rows
    return batches
