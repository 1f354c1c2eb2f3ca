"""Floating-point operations that a step needs."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.models.factory import build_encoder
from textadv.settings import FinetuningSettings, ModelSettings


def encoder_operations(model: ModelSettings) -> int:
    """Operations of one token's forward pass: two per weight of a matrix. The backward pass takes twice as many."""
    with torch.device("meta"):
        encoder = build_encoder(model, torch.ones(1))
    matrices = [p for p in encoder.parameters() if p.dim() == 2]
    return 2 * (sum(p.numel() for p in matrices) - sum(p.numel() for p in encoder.embedding_parameters()))


def useful_finetuning_operations(
    labeled: Tensor, unlabeled: Tensor | None, model: ModelSettings, settings: FinetuningSettings
) -> float:
    """Operations of the encoder that a fine-tuning step cannot do without, counted for real tokens alone.

    In units of a forward pass: 1 forward, 1 backward to the embeddings, 1 backward to the weights. The directions of
    labeled rows come with the backward pass of the clean loss; those of unlabeled rows cost one backward pass to the
    embeddings per class but one, of which one is counted. Tokens before the window are read forward once.

    Args:
        labeled: Lengths of the labeled documents, (B,).
        unlabeled: Lengths of the unlabeled documents, (B',), or None.
        model: Sizes of the encoder.
        settings: Method and window.

    Returns:
        Number of additions and multiplications.
    """
    passes = 3 + 3 * (settings.perturbs_labeled or settings.uses_vat)
    units = _units(labeled, settings.window, passes)
    if unlabeled is not None:
        units += _units(unlabeled, settings.window, 1 + 1 + 3)
    return units * encoder_operations(model)


def _units(lengths: Tensor, window: int, passes: int) -> float:
    inside = lengths.clamp(max=window)
    return float((inside * passes + (lengths - inside)).sum())


def useful_pretraining_operations(tokens: float, model: ModelSettings, candidates: float, tied: bool) -> float:
    """Operations of a language model's step: the encoder and the softmax, forward and backward.

    Args:
        tokens: Real tokens of the step, those of one direction.
        model: Sizes of the encoder.
        candidates: Distinct words that a target is compared with.
        tied: Whether the softmax shares the table of embeddings, behind a projection.

    Returns:
        Number of additions and multiplications.
    """
    hidden, width = model.hidden_size, model.embedding_size if tied else model.hidden_size
    softmax = (1 + model.bidirectional) * 2 * (width * (candidates + 1) + tied * hidden * width)
    return 3 * tokens * (encoder_operations(model) + softmax)


def distinct_candidates(frequencies: NDArray[np.floating], draws: int) -> float:
    """How many distinct words the sampled softmax draws on average; the vocabulary for the full softmax (0 draws).

    Args:
        frequencies: Counts of the vocabulary, shape (V,).
        draws: Number of draws, with replacement.
    """
    if not draws:
        return len(frequencies)
    return float(-np.expm1(draws * np.log1p(-frequencies / frequencies.sum())).sum())
