"""Recurrent layers, and what a document's features are made of their outputs."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textadv.precision import lstm_in_bfloat16, without_autocast

# A time step: takes words (b,), as rows of a table, and the parts of the state, (b, H) each, which it changes in place.
Step = Callable[[Tensor, list[Tensor]], None]


class LSTM(nn.LSTM):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); its state is the output and the cell."""

    num_states = 2
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def forward(  # type: ignore[override]
        self, inputs: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs (B, T, H) and the new state, in the number format of the inputs; see `lstm_in_bfloat16`."""
        with nullcontext() if lstm_in_bfloat16(inputs.device) else without_autocast(inputs.device):
            outputs, (h, c) = super().forward(inputs, state)
        return outputs.to(inputs.dtype), (h.to(inputs.dtype), c.to(inputs.dtype))

    def step(self, table: Tensor) -> Step:
        """The time step for the words of a table (U, D), whose products with the weights are made once."""
        inputs = F.linear(table, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)  # (U, 4 H)
        recurrent = self.weight_hh_l0.T.contiguous()  # (H, 4 H)

        def step(words: Tensor, state: list[Tensor]) -> None:
            h, c = state
            gates = inputs.index_select(0, words).addmm_(h, recurrent)
            keep_in, keep, new, out = gates.chunk(4, dim=1)
            gates[:, : 2 * self.hidden_size].sigmoid_()
            c.mul_(keep).addcmul_(keep_in, new.tanh_())
            torch.mul(out.sigmoid_(), c.tanh(), out=h)

        return step


class GRU(nn.GRU):
    """Gated recurrent unit (Cho et al. 2014), its reset gate behind the product; its state is the output.

    Unlike an LSTM it is not one operation on a CPU: a backward pass that is made under autocast is rounded there.
    """

    num_states = 1
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def forward(self, inputs: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor]]:  # type: ignore[override]
        """Outputs (B, T, H) and the new state, in the number format of the inputs, whatever autocast asks for."""
        with without_autocast(inputs.device):
            outputs, h = super().forward(inputs, None if state is None else state[0])
        return outputs, (h,)

    def step(self, table: Tensor) -> Step:
        """See `LSTM.step`."""
        inputs = F.linear(table, self.weight_ih_l0, self.bias_ih_l0)  # (U, 3 H)
        recurrent = self.weight_hh_l0.T.contiguous()  # (H, 3 H)

        def step(words: Tensor, state: list[Tensor]) -> None:
            (h,) = state
            wide, products = inputs.index_select(0, words), torch.addmm(self.bias_hh_l0, h, recurrent)
            gates = wide[:, : 2 * self.hidden_size].add_(products[:, : 2 * self.hidden_size]).sigmoid_()
            reset, keep = gates.chunk(2, dim=1)
            new = wide[:, 2 * self.hidden_size :].addcmul_(reset, products[:, 2 * self.hidden_size :]).tanh_()
            h.sub_(new).mul_(keep).add_(new)

        return step


Layer = LSTM | GRU
LAYERS: dict[str, type[Layer]] = {"lstm": LSTM, "gru": GRU}


class LastOutput:
    """The last output of each document (Miyato et al. 2017, section 3).

    Args:
        zeros: Shape (B, H).
    """

    parts = 1  # features in units of H

    def __init__(self, zeros: Tensor) -> None: ...

    def add(self, outputs: Tensor, rows: Tensor | slice) -> None:
        """Note outputs (b, S, H) of some documents; without gradient."""

    def add_spans(self, outputs: Tensor, spans: Tensor) -> None:
        """Note the first outputs of every document, with gradient.

        Args:
            outputs: Shape (B, S, H).
            spans: How many of them are the document's, shape (B,).
        """

    def features(self, last: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, parts H) of documents with these last outputs, (B, H), and lengths, (B,)."""
        return last


class MeanOutput(LastOutput):
    """The mean of all outputs."""

    def __init__(self, zeros: Tensor) -> None:
        self.total = zeros.clone()

    def add(self, outputs: Tensor, rows: Tensor | slice) -> None:
        """See `LastOutput.add`."""
        self.total[rows] += outputs.sum(1)

    def add_spans(self, outputs: Tensor, spans: Tensor) -> None:
        """See `LastOutput.add_spans`."""
        # No matrix product: its backward pass, which may be made under autocast, would be rounded there. A product
        # with 0 and 1 passes over the outputs once, where `masked_fill` copies them first.
        self.total = self.total + (outputs * ~_outside(outputs, spans)).sum(1)

    def features(self, last: Tensor, lengths: Tensor) -> Tensor:
        """See `LastOutput.features`."""
        return self.total / lengths[:, None]


class LastMeanMax(MeanOutput):
    """The last output, the mean and the maximum of all outputs (Howard and Ruder 2018, section 3.3)."""

    parts = 3

    def __init__(self, zeros: Tensor) -> None:
        super().__init__(zeros)
        self.largest = zeros - torch.inf

    def add(self, outputs: Tensor, rows: Tensor | slice) -> None:
        """See `LastOutput.add`."""
        super().add(outputs, rows)
        self.largest[rows] = torch.maximum(self.largest[rows], outputs.amax(1))

    def add_spans(self, outputs: Tensor, spans: Tensor) -> None:
        """See `LastOutput.add_spans`. Where outputs are equal, the gradient of the maximum goes to one of them."""
        super().add_spans(outputs, spans)
        outside = _outside(outputs, spans)
        largest = (outputs + outputs.new_zeros(outside.shape).masked_fill(outside, -torch.inf)).max(1).values
        self.largest = torch.maximum(self.largest, largest)

    def features(self, last: Tensor, lengths: Tensor) -> Tensor:
        """See `LastOutput.features`."""
        return torch.cat([last, super().features(last, lengths), self.largest], dim=1)


def _outside(outputs: Tensor, spans: Tensor) -> Tensor:
    """True behind the end of each document, (B, S, 1)."""
    return (torch.arange(outputs.shape[1], device=outputs.device) >= spans[:, None]).unsqueeze(2)


POOLINGS: dict[str, type[LastOutput]] = {"last": LastOutput, "mean": MeanOutput, "last_mean_max": LastMeanMax}
