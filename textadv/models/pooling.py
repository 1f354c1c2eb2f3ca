"""Pooling of LSTM outputs over the positions of each document."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def last_total_largest(outputs: Tensor, spans: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The last output, the sum and the maximum of all outputs of each right-padded document.

    One function with a backward pass of its own: by separate operations, the passes over memory would take as long as
    a good part of the LSTM. Where outputs are equal, the gradient of the maximum goes to one of them.

    Args:
        outputs: Shape (B, S, H), finite everywhere.
        spans: Positions of each document, at least 1, shape (B,).

    Returns:
        Last, sum and maximum, each of shape (B, H).
    """
    last, total, largest = _Pool.apply(outputs, spans)  # type: ignore[no-untyped-call]
    return last, total, largest


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, outputs: Tensor, spans: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inside = torch.arange(outputs.shape[1], device=outputs.device) < spans[:, None]  # (B, S)
        ends = (spans - 1).view(-1, 1, 1).expand(-1, 1, outputs.shape[2])  # (B, 1, H)
        last = outputs.gather(1, ends).squeeze(1)
        total = torch.bmm(inside[:, None].to(outputs.dtype), outputs).squeeze(1)
        largest, peaks = outputs.masked_fill(~inside[:, :, None], -torch.inf).max(1, keepdim=True)
        ctx.save_for_backward(inside, ends, peaks)
        return last, total, largest.squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, last: Tensor, total: Tensor, largest: Tensor) -> tuple[Tensor, None]:
        inside, ends, peaks = ctx.saved_tensors
        gradient = inside[:, :, None].to(total.dtype) * total[:, None]  # (B, S, H)
        gradient.scatter_add_(1, peaks, largest[:, None])
        gradient.scatter_add_(1, ends, last[:, None])
        return gradient, None
