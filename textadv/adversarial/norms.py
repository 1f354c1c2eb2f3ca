"""Masks and norms of perturbations. A norm is taken over a whole sequence: all time steps and dimensions together."""

import torch
from torch import Tensor


def perturbation_mask(lengths: Tensor, width: int) -> Tensor:
    """Mark the positions that a perturbation may change: the words, neither the padding nor the final EOS.

    Args:
        lengths: Tokens per document, the final EOS counted, (B,).
        width: Number of positions T of the padded batch.

    Returns:
        True where a perturbation is allowed, (B, T).
    """
    return (lengths - 1)[:, None].gt(torch.arange(width, device=lengths.device))


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


def scale_to_norm(x: Tensor, mask: Tensor, epsilon: float) -> Tensor:
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
    x = x.to(torch.promote_types(x.dtype, torch.float32)).masked_fill(~mask[..., None], 0.0)
    peak = x.abs().amax((1, 2), keepdim=True)
    x = x / torch.where(peak == 0, 1.0, peak)
    norm = l2_norm(x).clamp_min(1.0)  # at least 1 already, because of the peak, unless x is zero
    return x * (epsilon / norm)[:, None, None]


def random_signs(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One random sign per example, to be multiplied with it.

    Args:
        x: Only its shape, type and device count, (B, T, D).
        generator: Source of the signs, on the device of x; the global one if None.

    Returns:
        -1 or 1, (B, 1, 1).
    """
    return torch.randint(0, 2, (len(x), 1, 1), generator=generator, device=x.device).to(x.dtype) * 2 - 1
