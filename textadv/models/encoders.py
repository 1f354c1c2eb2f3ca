"""The LSTM encoder: one direction or two over a shared normalized embedding, with carried state."""

from typing import Literal, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from textadv.models.embedding import NormalizedEmbedding, time_shared_dropout
from textadv.models.pooling import last_total_largest
from textadv.precision import without_autocast

State = tuple[Tensor, Tensor]
Pooling = Literal["last", "last_mean_max"]


class Encoder(nn.Module):
    """Normalized embedding and one LSTM per reading direction: what pretraining hands to the classifier.

    Args:
        frequencies: Counts of the vocabulary entries, shape (V,).
        embedding_size: Dimensions D of an embedding.
        hidden_size: Width H of each LSTM.
        bidirectional: Add an LSTM that reads each document from its end.
    """

    def __init__(self, frequencies: Tensor, embedding_size: int, hidden_size: int, bidirectional: bool) -> None:
        super().__init__()
        self.embedding = NormalizedEmbedding(frequencies, embedding_size)
        # The LSTMs have no dropout of their own: every pass of a step must see the same function.
        self.directions = nn.ModuleList(
            nn.LSTM(embedding_size, hidden_size, batch_first=True) for _ in range(1 + bidirectional)
        )
        self.hidden_size = hidden_size

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but not of the LSTMs: they work alike in both, and cuDNN has gradients in training only."""
        super().train(mode)
        self.directions.train()
        return self

    def embed(self, tokens: Tensor, dropout: float) -> Tensor:
        """Normalized embeddings, in training mode with dropout shared over time.

        Args:
            tokens: Shape (B, T).
            dropout: Dropout probability.

        Returns:
            Embeddings, shape (B, T, D).
        """
        return time_shared_dropout(self.embedding(tokens), dropout if self.training else 0.0)

    def num_features(self, pooling: Pooling) -> int:
        """Number of features of `features` for a pooling."""
        return len(self.directions) * self.hidden_size * (3 if pooling == "last_mean_max" else 1)

    def features(self, embeddings: Tensor, lengths: Tensor, window: int, pooling: Pooling) -> Tensor:
        """Read whole documents, in the number format of the weights.

        Autocast is kept out: it runs the LSTMs of cuDNN in float16, also where it is asked for bfloat16.

        Args:
            embeddings: Shape (B, T, D); what stands behind a document's length is ignored.
            lengths: Tokens of each document, its EOS counted, shape (B,), in main memory: the host cuts by them.
            window: Gradients reach at most this many of the tokens read last; the state before is carried
                without gradient (Miyato et al. 2017, section 4.1).
            pooling: `last`, or `last_mean_max` for the concatenation of last, mean and max of all outputs.

        Returns:
            Features, shape (B, num_features).
        """
        readings = [embeddings]
        if len(self.directions) == 2:
            readings.append(reverse_documents(embeddings, lengths))
        with without_autocast(embeddings.device):
            features = [
                read_documents(cast(nn.LSTM, lstm), reading, lengths, window, pooling)
                for lstm, reading in zip(self.directions, readings, strict=True)
            ]
        return torch.cat(features, dim=1)


def _beside(values: Tensor, known: Tensor) -> Tensor:
    """What the host knows, on the device of some values; the host does not wait for the copy."""
    return known.to(values.device, non_blocking=True)


class _Prefix(NamedTuple):
    """What is carried over from the tokens before the window."""

    state: State  # (1, B, H) each
    total: Tensor  # (B, H), sum of the outputs
    largest: Tensor  # (B, H), maximum of the outputs


def read_documents(lstm: nn.LSTM, embeddings: Tensor, lengths: Tensor, window: int, pooling: Pooling) -> Tensor:
    """Run one LSTM over right-padded documents and pool its outputs.

    A document longer than the window is cut in two at a multiple of the stride (a quarter of the window): the
    part before is read without gradient, in steps of one stride, and its state carried into the part behind.

    Args:
        lstm: A batch-first `nn.LSTM`.
        embeddings: Shape (B, T, D).
        lengths: Shape (B,).
        window: At most this many tokens of each document receive gradients.
        pooling: As in `Encoder.features`.

    Returns:
        Features, shape (B, H) or (B, 3 H).
    """
    stride = max(1, window // 4)
    cuts = (lengths - window + stride - 1).div(stride, rounding_mode="floor").clamp(min=0) * stride  # (B,)
    prefix = _read_prefix(lstm, embeddings, cuts, stride)
    width = int((lengths - cuts).max())
    outputs, _ = lstm(_windows(embeddings, cuts, width), prefix.state)  # (B, S, H)
    lengths = _beside(embeddings, lengths)
    spans = lengths - _beside(embeddings, cuts)  # (B,)
    if pooling == "last":
        final: Tensor = outputs.gather(1, (spans - 1).view(-1, 1, 1).expand(-1, 1, outputs.shape[2]))
        return final.squeeze(1)
    last, total, largest = last_total_largest(outputs, spans)
    mean = (prefix.total + total) / lengths[:, None]
    return torch.cat([last, mean, torch.maximum(prefix.largest, largest)], dim=1)


@torch.no_grad()
def _read_prefix(lstm: nn.LSTM, embeddings: Tensor, cuts: Tensor, stride: int) -> _Prefix:
    """Read the tokens before `cuts` (multiples of `stride`) without gradient."""
    rows, hidden = embeddings.shape[0], lstm.hidden_size
    h, c = embeddings.new_zeros(1, rows, hidden), embeddings.new_zeros(1, rows, hidden)
    total, largest = embeddings.new_zeros(rows, hidden), embeddings.new_full((rows, hidden), -torch.inf)
    for start in range(0, int(cuts.max()), stride):
        active = _beside(embeddings, (cuts > start).nonzero().squeeze(1))
        piece = embeddings[active, start : start + stride]
        outputs, (h[:, active], c[:, active]) = lstm(piece, (h[:, active], c[:, active]))
        total[active] += outputs.sum(1)
        largest[active] = torch.maximum(largest[active], outputs.amax(1))
    return _Prefix((h, c), total, largest)


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
