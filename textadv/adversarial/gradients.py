"""Gradients with respect to the embeddings: those of a pass made for them, and those of one that is made anyway."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from textadv.precision import without_autocast


def gradients_of(
    values: Tensor, inputs: Sequence[Tensor], retain_graph: bool = False, allow_unused: bool = False
) -> tuple[Tensor, ...]:
    """Gradients of the sum of some values, in the number formats of the forward pass.

    A backward pass under autocast would round what the forward pass has kept out of it, such as a GRU on a CPU.

    Args:
        values: Of any shape.
        inputs: Tensors to differentiate with respect to.
        retain_graph: Keep the graph for another pass.
        allow_unused: Give None for an input that has no part in the values, instead of an error.

    Returns:
        One gradient for each input.
    """
    with without_autocast(values.device):
        return torch.autograd.grad(values.sum(), inputs, retain_graph=retain_graph, allow_unused=allow_unused)


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
    gradients = gradients_of(losses, inputs, allow_unused=True)
    replayed: Tensor = _Replay.apply(losses.detach(), gradients, *inputs)  # type: ignore[no-untyped-call]
    return replayed, gradients[0]


def sum_of_parts(part: Callable[[int], Tensor], count: int, parameters: Sequence[Tensor]) -> Tensor:
    """Add up the parts of a loss, with the graph of one of them at a time.

    All but the last go backward before the next one is made. Their gradients are handed on when the sum is
    differentiated.

    Args:
        part: Makes a part by its number, a scalar.
        count: How many there are.
        parameters: All tensors through which the sum is to be differentiated.

    Returns:
        The sum, a scalar.
    """
    total = torch.zeros(())
    gradients: list[Tensor | None] = [None] * len(parameters)
    for number in range(count - 1):
        loss = part(number)
        total = total.to(loss) + loss.detach()
        for i, found in enumerate(gradients_of(loss, parameters, allow_unused=True)):
            known = gradients[i]
            gradients[i] = found if known is None or found is None else known + found
    last = part(count - 1)
    if count == 1:
        return last
    replayed: Tensor = _Replay.apply(total[None], tuple(gradients), *parameters)  # type: ignore[no-untyped-call]
    return last + replayed[0]


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
