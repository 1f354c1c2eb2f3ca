"""Perturbations of a sequence of embeddings. Each is a constant to the gradient: nothing flows back through it."""

import torch
from torch import Tensor

from textadv.adversarial.norms import scale_to_norm


def adversarial_perturbation(gradient: Tensor, mask: Tensor, epsilon: float) -> Tensor:
    """The step of L2 norm `epsilon` that raises a linearized loss the most: r_adv = epsilon g / ||g||_2.

    Miyato, Dai, Goodfellow 2017 (arXiv 1605.07725), equations 5 and 6.

    Args:
        gradient: Gradient g of the loss with respect to the embeddings, (B, T, D).
        mask: True at the positions that may change, (B, T).
        epsilon: L2 norm over the whole sequence, in normalized-embedding units.

    Returns:
        r_adv, (B, T, D); zero for an example whose gradient is zero.
    """
    return scale_to_norm(gradient.detach(), mask, epsilon)


def random_perturbation(
    embeddings: Tensor, mask: Tensor, epsilon: float, generator: torch.Generator | None = None
) -> Tensor:
    """A step of L2 norm `epsilon` in a uniformly random direction: the baseline that an adversary has to beat.

    Args:
        embeddings: Only their shape, type and device count, (B, T, D).
        mask: True at the positions that may change, (B, T).
        epsilon: L2 norm over the whole sequence, in normalized-embedding units.
        generator: Source of randomness, on the device of the embeddings; the global one if None.

    Returns:
        The perturbation, (B, T, D).
    """
    noise = torch.randn(embeddings.shape, generator=generator, dtype=embeddings.dtype, device=embeddings.device)
    return scale_to_norm(noise, mask, epsilon)
