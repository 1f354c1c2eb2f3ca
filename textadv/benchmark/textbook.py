"""The textbook implementation: every equation of the paper as passes of its own. The reference of speed and results."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from textadv.adversarial.divergences import cross_entropy, kl_divergence
from textadv.adversarial.norms import scale_to_norm
from textadv.corpus.batching import Batch, DocumentBatches, StreamBatch
from textadv.draws import Generator, normal
from textadv.errors import InputError
from textadv.models.classifier import Classifier
from textadv.models.encoders import State
from textadv.models.layers import Layer
from textadv.settings import FinetuningSettings

# What the textbook step does not read. Beside other values than their defaults it would do less than ours.
UNREAD = (
    "adversary",
    "class_weights",
    "entropy_weight",
    "balance_weight",
    "pseudo_label_weight",
    "vat_target",
    "num_power_iterations",
    "micro_batches",
)


def require_textbook(settings: FinetuningSettings) -> None:
    """See to it that the textbook step has the same terms and perturbations as ours.

    Raises:
        InputError: It does not read a setting that differs from its default.
    """
    for name in UNREAD:
        value, default = getattr(settings, name), getattr(FinetuningSettings, name)
        if value != default:
            raise InputError(f"--finetuning.{name} {value}: the textbook implementation only has {default}")


class TextbookStep:
    """The loss of a fine-tuning step, one pass after another (Miyato et al. 2017, equations 3 to 9).

    r_adv takes a full backward pass of the clean loss; r_vadv a random start, a forward and a full backward pass at
    distance xi (one power iteration); each perturbed loss a pass.

    Args:
        classifier: The classifier.
        settings: Method and sizes of the perturbations.
        generator: Source of dropout and random starts, on the device of the classifier.

    Raises:
        InputError: The settings have terms or perturbations that it has not.
    """

    def __init__(self, classifier: Classifier, settings: FinetuningSettings, generator: Generator) -> None:
        require_textbook(settings)
        self.classifier = classifier
        self.settings = settings
        self.generator = generator

    def loss(self, labeled: Batch, unlabeled: Batch | None) -> Tensor:
        """The objective of a labeled and an unlabeled batch, a scalar."""
        s, classify = self.settings, self.classifier.classify
        embeddings = self.classifier.embed(labeled.tokens, self.generator)
        supervised = cross_entropy(classify(embeddings, labeled.lengths), labeled.labels).mean()
        loss = s.supervised_weight * supervised
        if s.perturbs_labeled:
            r_adv = self.adversarial(supervised, embeddings, labeled)
            adversarial = cross_entropy(classify(embeddings + r_adv, labeled.lengths), labeled.labels)
            loss = loss + s.adv_weight * adversarial.mean()
        if s.uses_vat:
            smoothness = [self.smoothness(embeddings, labeled)]
            if unlabeled is not None:
                embeddings = self.classifier.embed(unlabeled.tokens, self.generator)
                smoothness.append(self.smoothness(embeddings, unlabeled))
            loss = loss + s.vat_weight * torch.cat(smoothness).mean()
        return loss

    def smoothness(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """KL(p(x) || p(x + r_vadv)) per example, (B,)."""
        with torch.no_grad():
            clean = self.classifier.classify(embeddings, batch.lengths)
        r_vadv = self.virtual(clean, embeddings, batch)
        return kl_divergence(clean, self.classifier.classify(embeddings + r_vadv, batch.lengths))

    def adversarial(self, supervised: Tensor, embeddings: Tensor, batch: Batch) -> Tensor:
        """r_adv, (B, T, D)."""
        gradient = self._full_backward(supervised, embeddings)
        return scale_to_norm(gradient, self._mask(batch), self.settings.epsilon)

    def virtual(self, clean: Tensor, embeddings: Tensor, batch: Batch) -> Tensor:
        """r_vadv by one power iteration, (B, T, D)."""
        mask = self._mask(batch)
        d = scale_to_norm(normal(embeddings, self.generator), mask, self.settings.xi).requires_grad_()
        near = self.classifier.classify(embeddings.detach() + d, batch.lengths)
        gradient = self._full_backward(kl_divergence(clean, near).sum(), d)
        return scale_to_norm(gradient, mask, self.settings.virtual_epsilon)

    def _mask(self, batch: Batch) -> Tensor:
        return self.classifier.encoder.perturbation_mask(batch.tokens, batch.lengths)

    def _full_backward(self, loss: Tensor, point: Tensor) -> Tensor:
        """Gradient at a point, found as `loss.backward()` does: with those of all parameters."""
        parameters = list(self.classifier.parameters())
        return torch.autograd.grad(loss, [point, *parameters], retain_graph=True, allow_unused=True)[0]


def random_batch(batches: DocumentBatches, step: int) -> Batch:
    """A batch of documents of any length, padded to the longest: the same documents, not sorted into buckets."""
    rows: NDArray[np.int64] = np.random.default_rng([batches.seed, batches.stream, step]).choice(
        batches.indices, size=min(batches.batch_size, len(batches.indices)), replace=False
    )
    return batches.documents.batch(rows)


class TextbookLanguageModel(nn.Module):
    """A language model over the full vocabulary: normalized table, recurrent layer, linear layer, cross entropy.

    Args:
        frequencies: Counts of the vocabulary, shape (V,).
        layer: The recurrent layer.
        dropout: Dropout of the embeddings, one mask over all time steps.
    """

    frequencies: Tensor

    def __init__(self, frequencies: Tensor, layer: Layer, dropout: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", (frequencies / frequencies.sum()).float())
        self.table = nn.Parameter(torch.empty(len(frequencies), layer.input_size).uniform_(-0.1, 0.1))
        self.layer = layer
        self.output = nn.Linear(layer.hidden_size, len(frequencies))
        self.dropout = nn.Dropout(dropout)
        self.state: State | None = None

    def loss(self, batch: StreamBatch) -> Tensor:
        """Mean loss per token of one window, the state carried on from the window before."""
        mean = self.frequencies @ self.table
        variance = self.frequencies @ (self.table - mean).square()
        embeddings = F.embedding(batch.tokens[0], (self.table - mean) / variance.sqrt())
        embeddings = embeddings * self.dropout(torch.ones_like(embeddings[:, :1]))
        outputs, state = self.layer(embeddings, None if batch.starts else self.state)
        self.state = tuple(part.detach() for part in state)
        return F.cross_entropy(self.output(outputs).flatten(0, 1), batch.targets[0].flatten(), ignore_index=0)
