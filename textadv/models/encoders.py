"""What every encoder offers: to a classifier, to pretraining, and to whoever looks words up."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from textadv.draws import Generator
from textadv.models.embedding import NormalizedEmbedding, time_shared_dropout

State = tuple[Tensor, ...]  # what is carried from one window of a stream to the next, (1, B, ...) each


NUM_SPECIAL = 3  # ids 0, 1 and 2 of a tokenizer that is trained on the corpus: padding, the unknown word, EOS


class Encoder(nn.Module, ABC):
    """Documents to features, in two halves: perturbations live between `embed` and `features`.

    Args:
        embedding_size: Dimensions D of an embedding.
        num_features: Number F of features.
    """

    window: int | None = None  # tokens of each document that gradients reach; None for all
    seed: int = 0  # what dropout behind the embeddings follows from; `embed` draws it anew, a `CleanPass` restores it
    is_special: Tensor  # which ids are no words: they are nobody's neighbours, (V,), bool

    def __init__(self, embedding_size: int, num_features: int) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        self.num_features = num_features

    @abstractmethod
    def embed(self, tokens: Tensor, generator: Generator = None) -> Tensor:
        """Normalized embeddings, in training mode with what the passes of a step share of the dropout.

        Args:
            tokens: Shape (B, T).
            generator: Source of the dropout.

        Returns:
            Embeddings, shape (B, T, D).
        """

    @abstractmethod
    def word_table(self) -> Tensor:
        """Normalized embeddings of the vocabulary, shape (V, D), without dropout and without gradient."""

    @abstractmethod
    def embedding_parameters(self) -> list[nn.Parameter]:
        """The parameters of `embed`; none of them lies between embeddings and features."""

    @abstractmethod
    def features(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Features of whole documents; deterministic.

        Args:
            embeddings: Shape (B, T, D); what stands behind a document's length is ignored.
            lengths: Tokens of each document, its EOS counted, shape (B,), in main memory.

        Returns:
            Features, shape (B, F).
        """

    def read(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Features of unperturbed documents; an encoder that has a faster way without gradients takes it here.

        Args:
            tokens: Shape (B, T).
            lengths: As in `features`.

        Returns:
            Features, shape (B, F).
        """
        return self.features(self.embed(tokens), lengths)

    def below_head(self) -> Iterator[tuple[int, nn.Parameter]]:
        """Each parameter, after the number of steps that it is below the head.

        The embeddings are 2 and all else is 1, unless an encoder has layers.
        """
        embedding = {id(parameter) for parameter in self.embedding_parameters()}
        for parameter in self.parameters():
            yield 2 if id(parameter) in embedding else 1, parameter

    def perturbation_mask(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Mark the positions that a perturbation may change: the words, neither the padding nor the final EOS.

        Args:
            tokens: Shape (B, T).
            lengths: Tokens of each document, its EOS counted, shape (B,), on any device.

        Returns:
            True where a perturbation is allowed, (B, T), on the device of the tokens.
        """
        return positions_before(lengths - 1, tokens)


def positions_before(ends: Tensor, tokens: Tensor) -> Tensor:
    """Mark the positions before an end; the host does not wait for a copy of the ends.

    Args:
        ends: One position per row, (B,), on any device.
        tokens: Only their width T and their device count, (B, T) or (B, T, D).

    Returns:
        Shape (B, T), bool, on the device of the tokens.
    """
    ends = ends.to(tokens.device, non_blocking=True)
    return ends[:, None] > torch.arange(tokens.shape[1], device=tokens.device)


class StreamEncoder(Encoder):
    """An encoder with a normalized embedding of its own that reads streams, too: a language model can pretrain it.

    Args:
        frequencies: Counts of the vocabulary entries, shape (V,).
        embedding_size: Dimensions D of an embedding.
        num_features: Number F of features.
        window: Tokens of each document that gradients reach; None for all.
        dropout: Dropout of the embeddings in training.
    """

    def __init__(
        self, frequencies: Tensor, embedding_size: int, num_features: int, window: int | None, dropout: float
    ) -> None:
        super().__init__(embedding_size, num_features)
        self.embedding = NormalizedEmbedding(frequencies, embedding_size)
        self.register_buffer("is_special", torch.arange(len(frequencies)) < NUM_SPECIAL, persistent=False)
        self.window = window
        self.dropout = dropout

    def embed(self, tokens: Tensor, generator: Generator = None) -> Tensor:
        """Normalized embeddings, in training mode with dropout shared over time. See `Encoder.embed`."""
        return time_shared_dropout(self.embedding(tokens), self.dropout if self.training else 0.0, generator)

    @torch.no_grad()
    def word_table(self) -> Tensor:
        """Normalized embeddings of the vocabulary, shape (V, D), without dropout and without gradient."""
        table: Tensor = self.embedding(torch.arange(len(self.embedding.weight), device=self.embedding.weight.device))
        return table

    def embedding_parameters(self) -> list[nn.Parameter]:
        """The parameters of `embed`; none of them lies between embeddings and features."""
        return list(self.embedding.parameters())

    @property
    @abstractmethod
    def stream_widths(self) -> list[int]:
        """Width H of the outputs for each stream that a language model reads, one per reading direction."""

    @abstractmethod
    def read_stream(
        self, direction: int, tokens: Tensor, state: State | None, generator: Generator = None
    ) -> tuple[Tensor, State]:
        """Outputs for one window of a stream, from which a language model predicts the tokens that follow.

        Args:
            direction: Number of the stream.
            tokens: Shape (B, T).
            state: What the window before has left, None at the start.
            generator: Source of the dropout.

        Returns:
            Outputs, shape (B, T, H), and the new state.
        """
