"""Word embeddings normalized by word frequency."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from textadv.draws import Generator, uniform
from textadv.precision import without_autocast

CPU_ROWS = 2048  # of the table at a time, so that they stay in the cache
VARIANCE_FLOOR = 1e-10  # below any variance of embeddings in use, so that theirs comes out as 1


class NormalizedEmbedding(nn.Module):
    """Embeddings with frequency-weighted mean 0 and variance 1 per dimension.

    v̄_k = (v_k - E(v)) / sqrt(Var(v)), E(v) = sum_j f_j v_j, Var(v) = sum_j f_j (v_j - E(v))²
    (Miyato, Dai, Goodfellow 2017, equation 1). The statistics stay inside the graph, so that the
    model cannot make a perturbation of fixed norm harmless by growing its embeddings.

    Args:
        frequencies: Counts of every vocabulary entry in the training text, shape (V,).
        embedding_size: Dimensions D.
    """

    frequencies: Tensor

    def __init__(self, frequencies: Tensor, embedding_size: int) -> None:
        super().__init__()
        # The scale cancels out of the forward pass, but Adam's steps are of one size: small weights move faster. With
        # ±1, as in the paper's code, short pretraining hardly moves the rarer words.
        self.weight = nn.Parameter(torch.empty(len(frequencies), embedding_size).uniform_(-0.1, 0.1))
        self.register_buffer("frequencies", (frequencies / frequencies.sum()).to(self.weight.dtype))

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up normalized embeddings.

        Args:
            tokens: Token ids, of one dimension or more.

        Returns:
            Embeddings of shape (*tokens.shape, D).
        """
        normalized: Tensor = _Normalized.apply(self.weight, self.frequencies, tokens)  # type: ignore[no-untyped-call]
        return normalized


class _Normalized(torch.autograd.Function):
    """Look up normalized embeddings, in few passes over the table, which is far larger than what is looked up.

    With g the gradient at the embeddings n = (v - E) s, s = Var^(-1/2), the gradient at v_j is the sum of g s over the
    places of word j, and f_j (b (v_j - E) + a) from the statistics, a = -s sum(g), b = -s² sum(g n).
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, frequencies: Tensor, tokens: Tensor) -> Tensor:
        mean, scale = normalization(weight, frequencies)
        # Normalizing after the lookup touches the tokens of the batch instead of the whole vocabulary.
        embeddings = F.embedding(tokens, weight).sub_(mean).mul_(scale)
        ctx.save_for_backward(weight, frequencies, tokens, mean, scale, embeddings)
        return embeddings

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        weight, frequencies, tokens, mean, scale, embeddings = ctx.saved_tensors
        others = tuple(range(gradient.dim() - 1))
        a = -scale * gradient.sum(others)
        b = -scale.square() * (gradient * embeddings).sum(others)
        result = torch.ops.aten.embedding_dense_backward(gradient * scale, tokens, len(weight), -1, False)
        for rows in _parts(weight):
            result[rows] += (weight[rows] - mean).mul_(b).add_(a).mul_(frequencies[rows, None])
        return result, None, None


@torch.no_grad()
def normalization(table: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """What normalizes the rows of a table: v̄ = (v - mean) scale (Miyato et al. 2017, equation 1).

    Args:
        table: Embeddings v, shape (V, D).
        frequencies: Relative frequencies of the rows, shape (V,).

    Returns:
        E(v) and Var(v)^(-1/2), shape (D,) each, without gradient.
    """
    mean, variance = torch.zeros_like(table[0]), torch.zeros_like(table[0])
    with without_autocast(table.device):  # it would round the statistics to bfloat16
        for rows in _parts(table):
            mean += frequencies[rows] @ table[rows]
        for rows in _parts(table):
            variance += frequencies[rows] @ (table[rows] - mean).square_()
    return mean, torch.rsqrt(variance + VARIANCE_FLOOR)


def _parts(table: Tensor) -> Iterator[slice]:
    """The rows of a table, in parts that stay in a CPU's cache."""
    rows = CPU_ROWS if table.device.type == "cpu" else len(table)
    return (slice(start, start + rows) for start in range(0, len(table), rows))


def time_shared_dropout(embeddings: Tensor, probability: float, generator: Generator = None) -> Tensor:
    """Dropout with one mask over all time steps (Gal and Ghahramani 2016; Miyato et al. 2017, section 4.2).

    Args:
        embeddings: Shape (B, T, D).
        probability: Share of the dimensions set to zero.
        generator: Source of randomness, on the device of the embeddings; the global one if None.

    Returns:
        Embeddings of the same shape, scaled to keep the expectation.
    """
    if probability == 0.0:
        return embeddings
    kept = uniform(embeddings[:, 0], generator) >= probability  # (B, D)
    return embeddings * kept.to(embeddings.dtype).div_(1 - probability)[:, None]
