"""Gradients with respect to the embeddings that cost no backward pass of their own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def early_backward(losses: Tensor, embeddings: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Go backward from losses now, for their gradient at the embeddings, and not again when parameters need theirs.

    The backward pass ends at the embeddings, and its graph is freed. The losses that are returned stand for the given
    ones in a larger objective, as long as all examples have the same weight in it, as in a mean: they have the same
    values, and going backward from them hands on the gradients found here.

    Args:
        losses: One per example, (B,).
        embeddings: Part of the graph of the losses, (B, T, D).
        parameters: All other tensors through which the losses are to be differentiated.

    Returns:
        The losses to go on with, (B,), and the gradient of their sum with respect to the embeddings, a constant,
        (B, T, D).
    """
    inputs = (embeddings, *parameters)
    gradients = torch.autograd.grad(losses.sum(), inputs, allow_unused=True)
    replayed: Tensor = _Replay.apply(losses.detach(), gradients, *inputs)  # type: ignore[no-untyped-call]
    return replayed, gradients[0]


class _Replay(torch.autograd.Function):
    """Values whose sum has gradients that are known already."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, gradients: tuple[Tensor | None, ...], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)  # type: ignore[arg-type]  # None is allowed
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight = gradient[0]  # the same for all
        return None, None, *(None if known is None else weight * known for known in ctx.saved_tensors)
