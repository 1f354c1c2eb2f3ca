"""Encoders and classifiers of given sizes; `textadv.settings.ModelSettings` holds them for an experiment."""

from typing import Protocol

from torch import Tensor

from textadv.models.classifier import Activation, Classifier
from textadv.models.encoders import Encoder, StreamEncoder
from textadv.models.layers import LAYERS, POOLINGS
from textadv.models.recurrent import RecurrentEncoder


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
    def pooling(self) -> str:
        """What the features are, one of `POOLINGS`."""

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
        POOLINGS[sizes.pooling],
        window,
        dropout,
    )


def build_classifier(sizes: ModelSizes, encoder: Encoder, num_classes: int) -> Classifier:
    """A classifier with a fresh head on an encoder."""
    return Classifier(encoder, num_classes, sizes.head_size, sizes.head_activation)
