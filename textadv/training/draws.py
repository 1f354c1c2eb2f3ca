"""Random numbers that do not depend on how a batch is divided among processes."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from textadv.corpus.batching import GlobalBatch

SIZE_ARGUMENT = {torch.randn: 0, torch.rand: 0, torch.randint: 2}
LIKE = {torch.randn_like, torch.rand_like, torch.randint_like}
IN_PLACE = {Tensor.uniform_, Tensor.normal_, Tensor.bernoulli_, Tensor.random_, Tensor.exponential_}


class SharedDraws(TorchFunctionMode):
    """Inside of it, what is drawn for this rank's rows is drawn for the whole batch, and the rank's rows are kept.

    All ranks have the same seed, so that every row meets the numbers that it meets on one process. What is not drawn
    by the row, such as the candidates of a sampled softmax, is the same on all ranks.

    Args:
        global_batch: Size of the batch of all ranks together.
        rows: Those of this rank.
        width: Padded width of this rank's rows.
    """

    def __init__(self, global_batch: GlobalBatch, rows: slice, width: int) -> None:
        super().__init__()
        self.global_batch = global_batch
        self.rows = rows
        self.count = len(range(global_batch.rows)[rows])
        self.width = width

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Draw more where a row is drawn for."""
        options = kwargs or {}
        if func in SIZE_ARGUMENT:
            place = SIZE_ARGUMENT[func]
            size = tuple(args[place])
            if size[0] == self.count:
                more = (*args[:place], self._global_size(size), *args[place + 1 :])
                return self._mine(func(*more, **options), size)
        elif (func is F.dropout or func in LIKE | IN_PLACE) and len(args[0]) == self.count:
            x = args[0]
            whole = func(x.new_ones(self._global_size(tuple(x.shape))), *args[1:], **options)
            mine = self._mine(whole, tuple(x.shape))
            if func in IN_PLACE:
                return x.copy_(mine)
            return x * mine if func is F.dropout else mine
        return func(*args, **options)

    def _global_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Size of what is drawn: (B, T, ...) or (B, 1, ...)."""
        return (self.global_batch.rows, self.global_batch.width if size[1] == self.width else size[1], *size[2:])

    def _mine(self, drawn: Tensor, size: tuple[int, ...]) -> Tensor:
        return drawn[self.rows, : size[1]]
