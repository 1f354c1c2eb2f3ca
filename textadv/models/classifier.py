"""The classifier: pretrained encoder and a small head."""

from typing import Literal

import torch
from torch import Tensor, nn

from textadv.models.encoders import Encoder, Pooling
from textadv.models.inference import read_tokens

Activation = Literal["gelu", "relu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


class Classifier(nn.Module):
    """Documents to logits, in two halves: perturbations live between `embed` and `classify`.

    Args:
        encoder: The (pretrained) encoder.
        num_classes: Number of classes C.
        pooling: What the head reads, see `Encoder.features`.
        head_size: Width of the hidden layer.
        window: Tokens of each document that gradients reach, see `Encoder.features`; None for all.
        dropout: Dropout of the embeddings in training.
        activation: Of the hidden layer. Where all units of a `relu` are inactive, the logits are a constant, their
            gradient is 0, and so is every perturbation.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        pooling: Pooling,
        head_size: int,
        window: int | None,
        dropout: float,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(encoder.num_features(pooling), head_size),
            ACTIVATIONS[activation](),
            nn.Linear(head_size, num_classes),
        )
        self.pooling: Pooling = pooling
        self.window = window
        self.dropout = dropout

    def embed(self, tokens: Tensor) -> Tensor:
        """Normalized embeddings; in training with dropout, drawn here once for all passes of a step.

        Args:
            tokens: Shape (B, T).

        Returns:
            Embeddings, shape (B, T, D).
        """
        return self.encoder.embed(tokens, self.dropout)

    def classify(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Logits of (perturbed) embeddings; deterministic.

        Args:
            embeddings: Shape (B, T, D).
            lengths: Tokens of each document, its EOS counted, shape (B,).

        Returns:
            Logits, shape (B, C).
        """
        window = embeddings.shape[1] if self.window is None else self.window
        logits: Tensor = self.head(self.encoder.features(embeddings, lengths, window, self.pooling))
        return logits

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Logits of unperturbed documents.

        Args:
            tokens: Shape (B, T).
            lengths: Shape (B,).

        Returns:
            Logits, shape (B, C).
        """
        if torch.is_grad_enabled() or tokens.device.type != "cpu":
            return self.classify(self.embed(tokens), lengths)
        logits: Tensor = self.head(read_tokens(self.encoder, tokens, lengths, self.pooling))
        return logits
