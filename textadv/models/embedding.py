"""Word embeddings normalized by word frequency."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
            tokens: Token ids, any shape.

        Returns:
            Embeddings of shape (*tokens.shape, D).
        """
        with torch.autocast(self.weight.device.type, enabled=False):  # it would round the statistics to bfloat16
            mean = self.frequencies @ self.weight  # (D,)
            variance = self.frequencies @ (self.weight - mean).square()  # (D,)
        # Normalizing after the lookup touches the tokens of the batch instead of the whole vocabulary.
        return (F.embedding(tokens, self.weight) - mean) * torch.rsqrt(variance + VARIANCE_FLOOR)


def time_shared_dropout(embeddings: Tensor, probability: float) -> Tensor:
    """Dropout with one mask over all time steps (Gal and Ghahramani 2016; Miyato et al. 2017, section 4.2).

    Args:
        embeddings: Shape (B, T, D).
        probability: Share of the dimensions set to zero.

    Returns:
        Embeddings of the same shape, scaled to keep the expectation.
    """
    if probability == 0.0:
        return embeddings
    mask = F.dropout(embeddings.new_ones(embeddings.shape[0], 1, embeddings.shape[2]), probability)
    return embeddings * mask
