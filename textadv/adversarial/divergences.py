"""Losses and divergences of class distributions given as logits: one value per example, never reduced."""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_probabilities(logits: Tensor) -> Tensor:
    """Logarithm of the predicted distribution, (B, C); half precision is promoted to float32."""
    return F.log_softmax(logits, dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood of the labels, -log p(y | x) = log(1 + sum_{c != y} exp(z_c - z_y)).

    In this form neither the loss nor its gradient is lost where p(y | x) rounds to 1.

    Args:
        logits: Scores of the classes, (B, C).
        labels: Index of the right class, (B,) int64.

    Returns:
        Loss per example in nats, (B,).
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    margins = (logits - logits.gather(1, labels[:, None])).scatter(1, labels[:, None], -torch.inf)
    others = margins.logsumexp(1)
    return torch.logaddexp(others, torch.zeros_like(others))


def kl_divergence(clean_logits: Tensor, perturbed_logits: Tensor) -> Tensor:
    """KL(p || q) = sum_c p_c (log p_c - log q_c), p from the clean and q from the perturbed logits.

    The gradient flows to both arguments; `local_distributional_smoothness` holds the clean one fixed.

    Args:
        clean_logits: Logits of p, (B, C).
        perturbed_logits: Logits of q, (B, C).

    Returns:
        Divergence per example in nats, (B,).
    """
    log_p, log_q = log_probabilities(clean_logits), log_probabilities(perturbed_logits)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def local_distributional_smoothness(clean_logits: Tensor, perturbed_logits: Tensor) -> Tensor:
    """KL(p(x) || p(x + r_vadv)), the clean prediction held fixed; needs no label.

    Miyato, Dai, Goodfellow 2017 (arXiv 1605.07725), equations 7 to 9. The name is of Miyato et al. 2016.

    Args:
        clean_logits: Logits at x, (B, C); no gradient flows to them.
        perturbed_logits: Logits at x + r_vadv, (B, C).

    Returns:
        The loss per example in nats, (B,).
    """
    return kl_divergence(clean_logits.detach(), perturbed_logits)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the predicted distribution, -sum_c p_c log p_c.

    Args:
        logits: Scores of the classes, (B, C).

    Returns:
        Entropy per example in nats, (B,).
    """
    log_p = log_probabilities(logits)
    return -(log_p.exp() * log_p).sum(1)
