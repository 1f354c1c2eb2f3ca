"""Norms of perturbations. A norm is taken over a whole sequence: all time steps and dimensions together."""

from typing import Literal

import torch
from torch import Tensor

from textadv.draws import Generator, normal, uniform

Norm = Literal["l2", "linf"]


def l2_norm(x: Tensor) -> Tensor:
    """L2 norm of each example, over every dimension but the first.

    Args:
        x: Any values, (B, ...). Half precision is summed in float32.

    Returns:
        Norms, (B,).
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    norms: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=dtype)
    return norms


def scale_to_norm(x: Tensor, mask: Tensor, epsilon: float | Tensor) -> Tensor:
    """Zero the masked-out positions and scale each example to the L2 norm `epsilon`.

    An example that is zero where the mask is True stays zero. Gradients of any size are safe: squares of 1e-30 would
    underflow in float32, so each example is divided by its largest entry before the norm is taken.

    Args:
        x: Gradients or directions, (B, T, D). Half precision is promoted to float32.
        mask: True at the positions to keep, (B, T). What stands at the others, even NaN, does not matter.
        epsilon: L2 norm over the whole sequence, in the units of the embeddings.

    Returns:
        The scaled values, exactly zero where the mask is False, (B, T, D).
    """
    x = _masked(x, mask)
    peak = x.abs().amax((1, 2), keepdim=True)
    x = x / torch.where(peak == 0, 1.0, peak)
    norm = l2_norm(x).clamp_min(1.0)  # at least 1 already, because of the peak, unless x is zero
    return x * (epsilon / norm)[:, None, None]


def steepest_step(gradient: Tensor, mask: Tensor, size: float | Tensor, norm: Norm) -> Tensor:
    """The step of the norm `size` that raises a linearized loss the most: the r that maximizes g . r.

    L2: size g / ||g||_2 over the whole sequence (Miyato et al. 2017, arXiv 1605.07725). L-infinity: size sign(g)
    (Goodfellow et al. 2015, arXiv 1412.6572).

    Args:
        gradient: Gradient g of the loss with respect to the embeddings, (B, T, D). Half precision becomes float32.
        mask: True at the positions that may change, (B, T). What stands at the others, even NaN, does not matter.
        size: Norm of the step, in the units of the embeddings.
        norm: "l2", over the whole sequence, or "linf", of every dimension of every word.

    Returns:
        The step, a constant, exactly zero where the mask is False or an example's gradient is zero, (B, T, D).
    """
    gradient = gradient.detach()
    return scale_to_norm(gradient, mask, size) if norm == "l2" else size * _masked(gradient, mask).sign()


def random_noise(
    embeddings: Tensor, mask: Tensor, epsilon: float, norm: Norm = "l2", generator: Generator = None
) -> Tensor:
    """A random step of the norm `epsilon`: the control that an adversary has to beat.

    Args:
        embeddings: Only their shape, type and device count, (B, T, D).
        mask: True at the positions that may change, (B, T).
        epsilon: Norm of the step, in the units of the embeddings.
        norm: "l2": a uniformly random direction of the whole sequence; "linf": a random sign in every dimension.
        generator: Source of randomness, on the device of the embeddings; the global one if None.

    Returns:
        The step, (B, T, D).
    """
    return steepest_step(normal(embeddings, generator), mask, epsilon, norm)


def project(r: Tensor, mask: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """The nearest perturbation (in L2) that is zero outside of the mask and has a norm of at most `epsilon`.

    Args:
        r: Perturbations, (B, T, D). Half precision is promoted to float32.
        mask: True at the positions that may change, (B, T). What stands at the others, even NaN, does not matter.
        epsilon: Radius of the ball, in the units of the embeddings.
        norm: "l2", over the whole sequence, or "linf", of every dimension of every word.

    Returns:
        The projection, (B, T, D). An example inside of the ball keeps its values exactly.
    """
    r = _masked(r, mask)
    if norm == "linf":
        return r.clamp(-epsilon, epsilon)
    outside = l2_norm(r) > epsilon
    return torch.where(outside[:, None, None], scale_to_norm(r, mask, epsilon), r)


def zero_rows(gradient: Tensor, mask: Tensor) -> Tensor:
    """Which examples have words but no gradient at them: the prediction is a constant there.

    Args:
        gradient: Gradients, or directions made of them, (B, T, D).
        mask: Where a perturbation is allowed, (B, T).

    Returns:
        Shape (B,), bool.
    """
    at_words = gradient.detach().abs().amax(2) * mask  # (B, T)
    return mask.any(1) & (at_words.amax(1) == 0)


def random_signs(x: Tensor, generator: Generator = None) -> Tensor:
    """One random sign per example, to be multiplied with it.

    Args:
        x: Only its shape, type and device count, (B, T, D).
        generator: Source of the signs, on the device of x; the global one if None.

    Returns:
        -1 or 1, (B, 1, 1).
    """
    return torch.where(uniform(x[:, 0, :1], generator) < 0.5, -1.0, 1.0).to(x.dtype)[:, None]


def _masked(x: Tensor, mask: Tensor) -> Tensor:
    """At least float32, and zero where the mask is False."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).masked_fill(~mask[..., None], 0.0)
