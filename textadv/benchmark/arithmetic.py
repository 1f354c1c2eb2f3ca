"""Floating-point operations that a step needs."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from textadv.settings import FinetuningSettings, ModelSettings


def lstm_operations(model: ModelSettings) -> int:
    """Operations of one token's forward pass through all directions; the backward pass takes twice as many."""
    return (1 + model.bidirectional) * 8 * model.hidden_size * (model.embedding_size + model.hidden_size)


def useful_finetuning_operations(
    labeled: Tensor, unlabeled: Tensor | None, model: ModelSettings, settings: FinetuningSettings
) -> float:
    """Operations of the LSTM that a fine-tuning step cannot do without, counted for real tokens alone.

    In units of a forward pass: 1 forward, 1 backward to the embeddings, 1 backward to the weights. The directions of
    labeled rows come with the backward pass of the clean loss; those of unlabeled rows cost one backward pass to the
    embeddings per class but one, of which one is counted. Tokens before the window are read forward once.

    Args:
        labeled: Lengths of the labeled documents, (B,).
        unlabeled: Lengths of the unlabeled documents, (B',), or None.
        model: Sizes of the LSTM.
        settings: Method and window.

    Returns:
        Number of additions and multiplications.
    """
    passes = 3 + 3 * (settings.perturbs_labeled or settings.uses_vat)
    units = _units(labeled, settings.window, passes)
    if unlabeled is not None:
        units += _units(unlabeled, settings.window, 1 + 1 + 3)
    return units * lstm_operations(model)


def _units(lengths: Tensor, window: int, passes: int) -> float:
    inside = lengths.clamp(max=window)
    return float((inside * passes + (lengths - inside)).sum())


def useful_pretraining_operations(tokens: float, model: ModelSettings, candidates: float) -> float:
    """Operations of a language model's step: the LSTM and the softmax, forward and backward.

    Args:
        tokens: Real tokens of the step, those of one direction.
        model: Sizes of the LSTM.
        candidates: Distinct words that a target is compared with.

    Returns:
        Number of additions and multiplications.
    """
    softmax = (1 + model.bidirectional) * 2 * model.hidden_size * (candidates + 1)
    return 3 * tokens * (lstm_operations(model) + softmax)


def distinct_candidates(frequencies: NDArray[np.floating], draws: int) -> float:
    """How many distinct words the sampled softmax draws on average; the vocabulary for the full softmax (0 draws).

    Args:
        frequencies: Counts of the vocabulary, shape (V,).
        draws: Number of draws, with replacement.
    """
    if not draws:
        return len(frequencies)
    return float(-np.expm1(draws * np.log1p(-frequencies / frequencies.sum())).sum())
