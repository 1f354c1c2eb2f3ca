"""Interpretable perturbations: every word moves along the directions to other words of the vocabulary.

Sato, Suzuki, Shindo, Matsumoto 2018, "Interpretable Adversarial Perturbation in Input Embedding Space for Text"
(IJCAI, arXiv 1805.02917). Such a perturbation reads as a list of replacements: the larger the weight of a direction,
the more its word would raise the loss. The paper suggests to look only at the K nearest words, as all is too many.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from textadv.adversarial.norms import scale_to_norm
from textadv.precision import full_precision, without_autocast

SIMILARITIES_AT_ONCE = 2**24  # 64 MiB in float32


def nearest_words(table: Tensor, tokens: Tensor, num_neighbours: int, excluded: Tensor) -> Tensor:
    """The words with the largest cosine similarity to each of the given words.

    Args:
        table: Normalized embeddings of the vocabulary, (V, D), of any length.
        tokens: Ids of the words, (N,) int64; each once, as every one costs V similarities.
        num_neighbours: Neighbours K per word.
        excluded: True for ids that are nobody's neighbour, such as padding, EOS and the unknown word, (V,).

    Returns:
        Ids of the neighbours, nearest first, never the word itself, (N, K) int64.

    Raises:
        ValueError: If fewer than K + 1 ids are not excluded.
    """
    candidates = int((~excluded).sum())
    if candidates <= num_neighbours:
        raise ValueError(f"{num_neighbours} neighbours per word cannot be had from {candidates} words")
    table = table.detach()
    units = F.normalize(table.to(torch.promote_types(table.dtype, torch.float32)), dim=1)
    neighbours = []
    with full_precision(table.device):  # rounded to bfloat16 or TensorFloat-32, many words would be equally near
        for chunk in torch.split(tokens, max(1, SIMILARITIES_AT_ONCE // len(table))):
            similarities = (units[chunk] @ units.T).masked_fill_(excluded, -torch.inf)  # (n, V)
            neighbours.append(similarities.scatter_(1, chunk[:, None], -torch.inf).topk(num_neighbours).indices)
    return torch.cat(neighbours)


def word_directions(embeddings: Tensor, neighbours: Tensor) -> Tensor:
    """Unit vectors from each word to its neighbours, d_tk = (w_k - x_t) / ||w_k - x_t||_2.

    Args:
        embeddings: Embeddings x_t of the words, (B, T, D).
        neighbours: Embeddings w_k of the candidates for their replacement, (B, T, K, D); with dropout, the same mask.

    Returns:
        Directions of L2 norm 1, constants, (B, T, K, D); zero to a neighbour that equals the word.
    """
    differences = neighbours.detach() - embeddings.detach()[:, :, None]
    return F.normalize(differences.to(torch.promote_types(differences.dtype, torch.float32)), dim=-1)


def interpretable_perturbation(
    gradient: Tensor, directions: Tensor, mask: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """The combination r_t = sum_k alpha_tk d_tk of directions to words that raises a linearized loss the most.

    alpha = epsilon a / ||a||_2 with a_tk = d_tk . g_t, the gradient of the loss with respect to alpha at alpha = 0. The
    norm of alpha is bounded, not that of r: directions alike add up, at most to an L2 norm of sqrt(K) epsilon.

    Args:
        gradient: Gradient g of the loss with respect to the embeddings, (B, T, D).
        directions: From `word_directions`, (B, T, K, D).
        mask: True at the positions that may change, (B, T). What stands at the others, even NaN, does not matter.
        epsilon: L2 norm of alpha over the whole sequence and all directions, in normalized-embedding units.

    Returns:
        r, (B, T, D), and alpha, (B, T, K), constants; zero for an example whose gradient is zero. A weight below zero
        is a move away from that word.
    """
    gradient = scale_to_norm(gradient.detach(), mask, 1.0)  # its size does not matter, and so cannot underflow below
    directions = directions.detach().to(gradient.dtype)
    with without_autocast(gradient.device):
        slopes = (directions @ gradient[..., None]).squeeze(-1)  # (B, T, K)
        weights = scale_to_norm(slopes, mask, epsilon)
        r = (weights[:, :, None] @ directions).squeeze(2)
    return r.masked_fill(~mask[..., None], 0.0), weights
