"""Gradients with respect to the embeddings that cost no backward pass of their own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def early_backward(loss: Tensor, embeddings: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Go backward from a loss now, for its gradient at the embeddings, and not again when the parameters need theirs.

    The backward pass ends at the embeddings, and its graph is freed. The loss that is returned stands for the given
    one in a larger objective: it has the same value, and going backward from it hands on the gradients found here.

    Args:
        loss: A scalar.
        embeddings: Part of the graph of the loss, (B, T, D).
        parameters: All other tensors through which the loss is to be differentiated.

    Returns:
        The loss to go on with and the gradient with respect to the embeddings, a constant, (B, T, D).
    """
    inputs = (embeddings, *parameters)
    gradients = torch.autograd.grad(loss, inputs, allow_unused=True)
    replayed: Tensor = _Replay.apply(loss.detach(), gradients, *inputs)  # type: ignore[no-untyped-call]
    return replayed, gradients[0]


class _Replay(torch.autograd.Function):
    """A value with gradients that are known already."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, gradients: tuple[Tensor | None, ...], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)  # type: ignore[arg-type]  # None is allowed
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if known is None else gradient * known for known in ctx.saved_tensors)
