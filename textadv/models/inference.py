"""Reading documents on a CPU when no gradient is needed: nothing is computed twice, and nothing for padding."""

import torch
from torch import Tensor

from textadv.models.layers import LastOutput, Layer


def read_places(layer: Layer, pooling: type[LastOutput], table: Tensor, places: Tensor, lengths: Tensor) -> Tensor:
    """Run a layer over documents whose words are given as rows of a table.

    The product of an embedding with the input weights depends on the word alone. It is half of all arithmetic, and is
    made once for each word of the batch instead of at each of its places. Rows are sorted by length, so that every time
    step works on the documents that are not at their end yet.

    Args:
        layer: The recurrent layer.
        pooling: What the features are.
        table: Embeddings of the words, shape (U, D).
        places: Rows of the table, shape (B, T).
        lengths: Tokens of each document, falling, shape (B,).

    Returns:
        Features, shape (B, parts H).
    """
    step = layer.step(table)
    state = [table.new_zeros(len(lengths), layer.hidden_size) for _ in range(layer.num_states)]
    pool = pooling(state[0])
    positions = torch.arange(places.shape[1], device=places.device)
    for t, rows in enumerate((lengths[:, None] > positions).sum(0).tolist()):
        unfinished = [part[:rows] for part in state]
        step(places[:rows, t], unfinished)
        pool.add(unfinished[0][:, None], slice(rows))
    return pool.features(state[0], lengths)
