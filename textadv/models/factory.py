"""Encoders and classifiers of given sizes; `textadv.settings.ModelSettings` holds them for an experiment."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from textadv.models.classifier import Activation, Classifier
from textadv.models.encoders import Encoder, StreamEncoder
from textadv.models.layers import LAYERS, POOLINGS
from textadv.models.recurrent import RecurrentEncoder
from textadv.models.transformer import Pooling, TransformerEncoder


class ModelSizes(Protocol):
    """Sizes of the encoder and the head."""

    @property
    def encoder(self) -> str:
        """Kind of encoder, one of `LAYERS`."""

    @property
    def embedding_size(self) -> int:
        """Dimensions D of an embedding."""

    @property
    def hidden_size(self) -> int:
        """Width H of each recurrent layer."""

    @property
    def bidirectional(self) -> bool:
        """Whether a second layer reads each document from its end."""

    @property
    def pooling(self) -> str | None:
        """What the features are, one of `POOLINGS`, or `first` or `mean` of a Transformer; None for the default."""

    @property
    def frozen_layers(self) -> int:
        """Layers of a Transformer that are not trained, from below."""

    @property
    def checkpointing(self) -> bool:
        """Whether a Transformer's activations are computed again in the backward pass."""

    @property
    def windows(self) -> bool:
        """Whether a Transformer reads documents beyond its positions in windows."""

    @property
    def head_size(self) -> int:
        """Width of the hidden layer between features and logits."""

    @property
    def head_activation(self) -> Activation:
        """Activation of that layer."""


def build_encoder(
    sizes: ModelSizes, frequencies: Tensor, dropout: float = 0.0, window: int | None = None
) -> StreamEncoder:
    """A fresh encoder.

    Args:
        sizes: Kind and sizes.
        frequencies: Counts of the vocabulary entries, shape (V,).
        dropout: Dropout of the embeddings in training.
        window: Tokens of each document that gradients reach; None for all.

    Returns:
        The encoder.
    """
    return RecurrentEncoder(
        frequencies,
        sizes.embedding_size,
        sizes.hidden_size,
        sizes.bidirectional,
        LAYERS[sizes.encoder],
        POOLINGS[sizes.pooling or "last"],
        window,
        dropout,
    )


def build_transformer(
    sizes: ModelSizes, body: Any, frequencies: Tensor, special_tokens: Sequence[int]
) -> TransformerEncoder:
    """A pretrained Transformer as an encoder.

    Args:
        sizes: Pooling, and what is trained.
        body: A model of `transformers.AutoModel`, which then belongs to the encoder.
        frequencies: Counts of the vocabulary entries, shape (V,).
        special_tokens: Ids that are no words; entries of the table behind the vocabulary are none either.

    Returns:
        The encoder.
    """
    unused = range(len(frequencies), len(body.get_input_embeddings().weight))
    pooling: Pooling = "first" if sizes.pooling == "first" else "mean"
    special = [*special_tokens, *unused]
    encoder = TransformerEncoder(body, frequencies, special, pooling, sizes.checkpointing, sizes.windows)
    encoder.freeze(sizes.frozen_layers)
    return encoder


def build_classifier(sizes: ModelSizes, encoder: Encoder, num_classes: int) -> Classifier:
    """A classifier with a fresh head on an encoder."""
    return Classifier(encoder, num_classes, sizes.head_size, sizes.head_activation)
