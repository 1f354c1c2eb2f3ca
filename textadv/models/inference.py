"""Reading documents on a CPU when no gradient is needed: nothing is computed twice, and nothing for padding."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textadv.models.encoders import Encoder, Pooling, reverse_documents
from textadv.precision import without_autocast


@torch.no_grad()
def read_tokens(encoder: Encoder, tokens: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """Features of whole documents, equal to those of `Encoder.features` up to rounding.

    The product of an embedding with the LSTM's input weights depends on the word alone. It is half of all arithmetic,
    and is made once for each word of the batch instead of at each of its places. Rows are sorted by length, so that
    every time step works on the documents that are not at their end yet.

    Args:
        encoder: In evaluation mode.
        tokens: Shape (B, T); what stands behind a document's length is ignored.
        lengths: Tokens of each document, its EOS counted, shape (B,).
        pooling: As in `Encoder.features`.

    Returns:
        Features, shape (B, num_features).
    """
    lengths, order = lengths.sort(descending=True, stable=True)
    tokens = tokens[order, : int(lengths[0])]
    words, places = torch.unique(tokens, return_inverse=True)
    table = encoder.embedding(words)  # (U, D)
    readings = [places]
    if len(encoder.directions) == 2:
        readings.append(reverse_documents(places, lengths))
    with without_autocast(tokens.device):
        features = [
            _read(cast(nn.LSTM, lstm), table, reading, lengths, pooling)
            for lstm, reading in zip(encoder.directions, readings, strict=True)
        ]
    return torch.cat(features, dim=1)[order.argsort()]


def _read(lstm: nn.LSTM, table: Tensor, places: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """Run one LSTM over documents sorted by falling length, given as rows of the table; in the same order."""
    size = lstm.hidden_size
    weight_ih, weight_hh, bias_ih, bias_hh = lstm.all_weights[0]
    inputs = F.linear(table, weight_ih, bias_ih + bias_hh)  # (U, 4 H)
    recurrent = weight_hh.T.contiguous()  # (H, 4 H)
    h, c, total = inputs.new_zeros(3, len(lengths), size)
    largest = inputs.new_full((len(lengths), size), -torch.inf)
    steps = torch.arange(places.shape[1], device=places.device)
    for t, rows in enumerate((lengths[:, None] > steps).sum(0).tolist()):
        gates = inputs.index_select(0, places[:rows, t]).addmm_(h[:rows], recurrent)
        keep_in, keep, new, out = gates.chunk(4, dim=1)
        gates[:, : 2 * size].sigmoid_()
        c[:rows].mul_(keep).addcmul_(keep_in, new.tanh_())
        torch.mul(out.sigmoid_(), c[:rows].tanh(), out=h[:rows])
        if pooling == "last_mean_max":
            total[:rows] += h[:rows]
            torch.maximum(largest[:rows], h[:rows], out=largest[:rows])
    features: Tensor = h if pooling == "last" else torch.cat([h, total / lengths[:, None], largest], dim=1)
    return features
