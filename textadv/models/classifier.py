"""The classifier: pretrained encoder and a small head."""

from typing import Literal

from torch import Tensor, nn

from textadv.draws import Generator
from textadv.models.encoders import Encoder

Activation = Literal["gelu", "relu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


class Classifier(nn.Module):
    """Documents to logits, in two halves: perturbations live between `embed` and `classify`.

    Args:
        encoder: The (pretrained) encoder.
        num_classes: Number of classes C.
        head_size: Width of the hidden layer; 0 for none: the logits are linear in the features.
        activation: Of the hidden layer. Where all units of a `relu` are inactive, the logits are a constant, their
            gradient is 0, and so is every perturbation.
    """

    def __init__(self, encoder: Encoder, num_classes: int, head_size: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.num_features
        hidden = [nn.Linear(width, head_size), ACTIVATIONS[activation]()] if head_size else []
        self.head = nn.Sequential(*hidden, nn.Linear(head_size or width, num_classes))

    def embed(self, tokens: Tensor, generator: Generator = None) -> Tensor:
        """Normalized embeddings; in training with dropout, drawn here once for all passes of a step.

        Args:
            tokens: Shape (B, T).
            generator: Source of the dropout, on the device of the tokens; the global one if None.

        Returns:
            Embeddings, shape (B, T, D).
        """
        return self.encoder.embed(tokens, generator)

    def classify(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Logits of (perturbed) embeddings; deterministic.

        Args:
            embeddings: Shape (B, T, D).
            lengths: Tokens of each document, its EOS counted, shape (B,).

        Returns:
            Logits, shape (B, C).
        """
        logits: Tensor = self.head(self.encoder.features(embeddings, lengths))
        return logits

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Logits of unperturbed documents.

        Args:
            tokens: Shape (B, T).
            lengths: Shape (B,).

        Returns:
            Logits, shape (B, C).
        """
        logits: Tensor = self.head(self.encoder.read(tokens, lengths))
        return logits
