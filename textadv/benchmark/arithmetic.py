"""Floating-point operations: how many a step needs, and how many this machine can do."""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from textadv.settings import FinetuningSettings, ModelSettings

MATRIX_SIZE = 2048


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


def matrix_product_speed(device: str) -> float:
    """Operations per second of one float32 matrix product, the machine's peak at this moment."""
    a, b = torch.randn(2, MATRIX_SIZE, MATRIX_SIZE, device=device)
    return 2 * MATRIX_SIZE**3 / _seconds(lambda: torch.mm(a, b), device)


def machine_speed(model: ModelSettings, rows: int, width: int, device: str, rounds: int) -> dict[str, float]:
    """The machine's matrix product and the LSTM's part of it, measured in turns.

    Args:
        model: Sizes of the LSTM.
        rows: Documents of a batch.
        width: Tokens of each.
        device: Where to compute.
        rounds: Measurements of each, of which the median counts.

    Returns:
        Operations per second of a float32 matrix product (`matrix_product`), and what share of it an LSTM reaches
        forward and backward (`lstm_forward`, `lstm_backward`).
    """
    lstm = nn.LSTM(model.embedding_size, model.hidden_size, batch_first=True).to(device)
    x = torch.randn(rows, width, model.embedding_size, device=device, requires_grad=True)
    forward = rows * width * 8 * model.hidden_size * (model.embedding_size + model.hidden_size)
    speeds: list[list[float]] = []
    for _ in range(rounds + 1):
        product = matrix_product_speed(device)
        outputs: list[Tensor] = []
        forth = _seconds(lambda out=outputs: out.append(lstm(x)[0]), device)  # type: ignore[misc]
        back = _seconds(outputs[0].sum().backward, device)
        speeds.append([product, forward / forth / product, 2 * forward / back / product])
    peak, forth, back = np.median(np.array(speeds[1:]), axis=0)
    return {"matrix_product": float(peak), "lstm_forward": float(forth), "lstm_backward": float(back)}


def _seconds(run: Callable[[], object], device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: str) -> None:
    """Wait for what the device has been given."""
    if device == "cuda":
        torch.cuda.synchronize()
