"""The recurrent encoder: one direction or two over a shared normalized embedding, with carried state."""

from typing import Self, cast

import torch
from torch import Tensor, nn

from textadv.draws import Generator
from textadv.models.encoders import State, StreamEncoder
from textadv.models.inference import read_places
from textadv.models.layers import LSTM, LastOutput, Layer
from textadv.precision import lstm_in_bfloat16, without_autocast


class RecurrentEncoder(StreamEncoder):
    """Normalized embedding and one recurrent layer per reading direction.

    Args:
        frequencies: Counts of the vocabulary entries, shape (V,).
        embedding_size: Dimensions D of an embedding.
        hidden_size: Width H of each layer.
        bidirectional: Add a layer that reads each document from its end.
        layer: Kind of the layers.
        pooling: What the features are.
        window: Gradients reach at most this many of the tokens that a layer reads last, None for all; the state before
            is carried without gradient (Miyato et al. 2017, section 4.1).
        dropout: Dropout of the embeddings in training.
    """

    def __init__(
        self,
        frequencies: Tensor,
        embedding_size: int,
        hidden_size: int,
        bidirectional: bool = False,
        layer: type[Layer] = LSTM,
        pooling: type[LastOutput] = LastOutput,
        window: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        num_directions = 1 + bidirectional
        super().__init__(frequencies, embedding_size, num_directions * pooling.parts * hidden_size, window, dropout)
        # The layers have no dropout of their own: every pass of a step must see the same function.
        self.directions = nn.ModuleList(
            layer(embedding_size, hidden_size, batch_first=True) for _ in range(num_directions)
        )
        self.pooling = pooling

    @property
    def layers(self) -> list[Layer]:
        """The layer of each direction."""
        return cast(list[Layer], list(self.directions))

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but not of the layers: they work alike in both, and cuDNN has gradients in training only."""
        super().train(mode)
        self.directions.train()
        return self

    def features(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Features of whole documents, in the number format of the weights. See `Encoder.features`."""
        readings = self._readings(embeddings, lengths)
        features = [
            read_documents(layer, self.pooling, reading, lengths, self.window)
            for layer, reading in zip(self.layers, readings, strict=True)
        ]
        return torch.cat(features, dim=1)

    def read(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Features of unperturbed documents, on a CPU without gradients those of `features` up to rounding."""
        # An LSTM in bfloat16 is faster than what is saved here.
        faster = isinstance(self.layers[0], LSTM) and lstm_in_bfloat16(tokens.device)
        if torch.is_grad_enabled() or tokens.device.type != "cpu" or faster:
            return super().read(tokens, lengths)
        lengths, order = lengths.sort(descending=True, stable=True)
        words, places = torch.unique(tokens[order, : int(lengths[0])], return_inverse=True)
        table = self.embedding(words)  # (U, D)
        readings = self._readings(places, lengths)
        with without_autocast(tokens.device):
            features = [
                read_places(layer, self.pooling, table, reading, lengths)
                for layer, reading in zip(self.layers, readings, strict=True)
            ]
        return torch.cat(features, dim=1)[order.argsort()]

    def _readings(self, values: Tensor, lengths: Tensor) -> list[Tensor]:
        """Documents as each direction reads them."""
        return [values] if len(self.directions) == 1 else [values, reverse_documents(values, lengths)]

    @property
    def stream_widths(self) -> list[int]:
        """Width H of the outputs of each direction."""
        return [layer.hidden_size for layer in self.layers]

    def read_stream(
        self, direction: int, tokens: Tensor, state: State | None, generator: Generator = None
    ) -> tuple[Tensor, State]:
        """Outputs for one window of a direction's stream. See `Encoder.read_stream`."""
        outputs, state = self.layers[direction](self.embed(tokens, generator), state)
        return outputs, state


def _beside(values: Tensor, known: Tensor) -> Tensor:
    """What the host knows, on the device of some values; the host does not wait for the copy."""
    return known.to(values.device, non_blocking=True)


def read_documents(
    layer: Layer, pooling: type[LastOutput], embeddings: Tensor, lengths: Tensor, window: int | None
) -> Tensor:
    """Run a layer over right-padded documents and pool its outputs.

    A document longer than the window is cut in two at a multiple of the stride (a quarter of the window): the
    part before is read without gradient, in steps of one stride, and its state carried into the part behind. Without
    a window nothing depends on a value of the lengths, so that the whole can be exported as one graph.

    Args:
        layer: The recurrent layer.
        pooling: What the features are.
        embeddings: Shape (B, T, D).
        lengths: Shape (B,).
        window: At most this many tokens of each document receive gradients; None for all.

    Returns:
        Features, shape (B, parts H).
    """
    pool = pooling(embeddings.new_zeros(embeddings.shape[0], layer.hidden_size))
    if window is None:
        outputs, _ = layer(embeddings, None)  # (B, T, H)
        return _pooled(pool, outputs, _beside(embeddings, lengths), _beside(embeddings, lengths))
    stride = max(1, window // 4)
    cuts = (lengths - window + stride - 1).div(stride, rounding_mode="floor").clamp(min=0) * stride  # (B,)
    state = _read_prefix(layer, pool, embeddings, cuts, stride)
    width = int((lengths - cuts).max())
    outputs, _ = layer(_windows(embeddings, cuts, width), state)  # (B, S, H)
    lengths = _beside(embeddings, lengths)
    return _pooled(pool, outputs, lengths - _beside(embeddings, cuts), lengths)


def _pooled(pool: LastOutput, outputs: Tensor, spans: Tensor, lengths: Tensor) -> Tensor:
    """Features of documents of the given lengths (B,) that end after `spans` (B,) of these outputs (B, S, H)."""
    pool.add_spans(outputs, spans)
    last = outputs.gather(1, (spans - 1).view(-1, 1, 1).expand(-1, 1, outputs.shape[2])).squeeze(1)
    return pool.features(last, lengths)


@torch.no_grad()
def _read_prefix(layer: Layer, pool: LastOutput, embeddings: Tensor, cuts: Tensor, stride: int) -> State:
    """Read the tokens before `cuts` (multiples of `stride`) without gradient; returns the state, (1, B, H) each."""
    state = tuple(embeddings.new_zeros(1, len(embeddings), layer.hidden_size) for _ in range(layer.num_states))
    for start in range(0, int(cuts.max()), stride):
        active = _beside(embeddings, (cuts > start).nonzero().squeeze(1))
        outputs, after = layer(embeddings[active, start : start + stride], tuple(part[:, active] for part in state))
        for part, values in zip(state, after, strict=True):
            part[:, active] = values
        pool.add(outputs, active)
    return state


def _windows(embeddings: Tensor, starts: Tensor, width: int) -> Tensor:
    """Cut `width` positions from `starts` on out of every row; positions behind the end repeat the last one."""
    first = int(starts[0])
    if bool((starts == first).all()):
        return embeddings[:, first : first + width]
    positions = _beside(embeddings, starts)[:, None] + torch.arange(width, device=embeddings.device)  # (B, W)
    positions = positions.clamp(max=embeddings.shape[1] - 1).unsqueeze(2).expand(-1, -1, embeddings.shape[2])
    return embeddings.gather(1, positions)


def reverse_documents(values: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the words of each right-padded document, leaving its final EOS and the padding where they are.

    Args:
        values: Tokens (B, T) or embeddings (B, T, D).
        lengths: Tokens of each document, its EOS counted, shape (B,), on any device.

    Returns:
        The same shape.
    """
    positions = torch.arange(values.shape[1], device=values.device).expand(values.shape[0], -1)
    mirrored = _beside(values, lengths)[:, None] - 2 - positions
    positions = torch.where(mirrored >= 0, mirrored, positions)  # (B, T)
    if values.dim() == 3:
        positions = positions.unsqueeze(2).expand(-1, -1, values.shape[2])
    return values.gather(1, positions)
