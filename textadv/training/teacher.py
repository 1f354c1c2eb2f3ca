"""Self-training: a teacher, made from the labels there are, labels the unlabeled texts of which it is surest."""

import copy
import sys

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textadv.adversarial.pseudo_labels import aligned_prediction
from textadv.corpus.batching import EVALUATION_TOKENS, Documents
from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.padding import Indices, sequential_batches
from textadv.models.encoders import Encoder
from textadv.models.layers import MeanOutput
from textadv.models.recurrent import RecurrentEncoder
from textadv.precision import autocast
from textadv.settings import FinetuningSettings, TrainerSettings
from textadv.system.machine import device
from textadv.system.processes import is_main
from textadv.system.progress import progress

INVERSE_PENALTY = 0.03  # of the probe's weights, for features of variance 1
MOST_ITERATIONS = 200
UNKNOWN = -1


def teach(
    data: FinetuningData, encoder: Encoder, class_shares: Tensor, settings: FinetuningSettings, machine: TrainerSettings
) -> None:
    """Label the surest of the unlabeled texts that a training reads by a linear probe of the pretrained encoder.

    Args:
        data: The texts; its unlabeled batches then have these labels.
        encoder: As it was pretrained; it is in the same place and mode afterwards.
        class_shares: Shares of the classes among the labels, (C,).
        settings: With the share of the texts that are labeled, and the number of steps.
        machine: Where to compute, and in which number format.
    """
    assert data.unlabeled is not None
    documents, labeled, unlabeled = data.unlabeled.documents, data.labeled.indices, data.unlabeled.first(settings.steps)
    labels = torch.from_numpy(documents.labels[labeled])
    with autocast(device(machine), machine.precision):
        features = mean_features(encoder, documents, np.concatenate([labeled, unlabeled]), device(machine))
    logits = probe(features, labels, len(class_shares))[len(labeled) :]
    chosen = surest(logits, class_shares.cpu().double(), settings.teacher_share)
    data.teacher_labels[unlabeled] = chosen.numpy()
    if is_main():
        known = int((chosen != UNKNOWN).sum())
        print(f"textadv: a linear probe labels {known:,} of {len(unlabeled):,} unlabeled texts", file=sys.stderr)


@torch.no_grad()
def mean_features(encoder: Encoder, documents: Documents, rows: Indices, kind: str) -> Tensor:
    """Features of documents without dropout: of a recurrent encoder the mean of its outputs, whatever its pooling.

    The mean holds more than the last output or the maximum for a linear classifier (docs/RESULTS.md).

    Args:
        encoder: The encoder.
        documents: Where the documents are.
        rows: Which of them, (n,).
        kind: Of device, where to compute.

    Returns:
        Shape (n, F), float64, on the CPU.
    """
    reader = copy.copy(encoder)
    if isinstance(reader, RecurrentEncoder):
        reader.pooling = MeanOutput
    before = next(encoder.parameters()).device, encoder.training
    reader.to(kind).eval()
    batches = sequential_batches(documents.lengths[rows], EVALUATION_TOKENS)
    pieces = []
    for places in progress(batches, len(batches), "reading texts for the teacher") if is_main() else batches:
        batch = documents.batch(rows[places]).to(kind)
        pieces.append(reader.read(batch.tokens, batch.lengths).cpu().double())
    reader.to(before[0]).train(before[1])
    features = torch.cat(pieces)
    return features[torch.from_numpy(np.argsort(np.concatenate(batches)))]


def probe(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Logistic regression on features of mean 0 and variance 1, with a penalty on its weights.

    Args:
        features: Shape (n, F), of which the first m have labels.
        labels: Shape (m,).
        num_classes: Number of classes C.

    Returns:
        Scores of the classes for all n, shape (n, C), without gradient.
    """
    mean, deviation = features.mean(0), features.std(0, correction=0)
    features = (features - mean) / torch.where(deviation > 0, deviation, 1.0)
    weights = features.new_zeros(num_classes, features.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=MOST_ITERATIONS, line_search_fn="strong_wolfe")

    def scores(x: Tensor) -> Tensor:
        return F.linear(x, weights[:, :-1], weights[:, -1])

    def loss() -> Tensor:
        optimizer.zero_grad()
        penalty = weights[:, :-1].square().sum() / (2 * INVERSE_PENALTY)
        total = F.cross_entropy(scores(features[: len(labels)]), labels, reduction="sum") + penalty
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return scores(features).detach()


def surest(logits: Tensor, class_shares: Tensor, share: float) -> Tensor:
    """The predictions of which a classifier is surest, in the shares of the classes among the labels.

    Predictions are aligned with these shares first. Each class then gives its share of the texts (class-balanced
    self-training, Zou et al. 2018, arXiv 1810.07911, section 4.2).

    Args:
        logits: Shape (n, C).
        class_shares: Shares of the classes among the labels, (C,).
        share: Share of the texts that is kept.

    Returns:
        Classes, -1 where the prediction is not kept, shape (n,).
    """
    aligned = aligned_prediction(logits, logits.softmax(1).mean(0), class_shares)
    confidence, classes = aligned.max(1)
    kept = torch.full_like(classes, UNKNOWN)
    for label, quota in enumerate((class_shares * share * len(logits)).round().int().tolist()):
        rows = (classes == label).nonzero().squeeze(1)
        best = rows[confidence[rows].argsort(descending=True, stable=True)[:quota]]
        kept[best] = label
    return kept
