"""The unperturbed pass of a batch, from which training, evaluation and report perturb."""

from typing import NamedTuple

from torch import Tensor

from textadv.models.classifier import Classifier


class CleanPass(NamedTuple):
    """The unperturbed pass of a batch; perturbations start from here."""

    classifier: Classifier
    embeddings: Tensor  # (B, T, D)
    lengths: Tensor  # (B,), in main memory
    mask: Tensor  # (B, T), where a perturbation is allowed
    logits: Tensor  # (B, C)
    neighbours: Tensor | None  # (B, T, K, D), words that an interpretable perturbation moves towards
    seed: int  # of the dropout behind the embeddings

    def classify(self, embeddings: Tensor) -> Tensor:
        """Logits of (perturbed) embeddings, (B, C), with the dropout of this pass, whatever was embedded since."""
        self.classifier.encoder.seed = self.seed
        return self.classifier.classify(embeddings, self.lengths)

    def logits_at(self, r: Tensor) -> Tensor:
        """Logits at x + r, (B, C)."""
        return self.classify(self.embeddings + r)

    def rows(self, chosen: Tensor) -> "CleanPass":
        """Some of the examples, by their numbers, (b,)."""
        near = None if self.neighbours is None else self.neighbours[chosen]
        x, mask, logits = self.embeddings[chosen], self.mask[chosen], self.logits[chosen]
        return CleanPass(self.classifier, x, self.lengths[chosen.cpu()], mask, logits, near, self.seed)
