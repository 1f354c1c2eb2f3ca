"""Measure a classifier on a split of a prepared corpus."""

import numpy as np
import torch
from numpy.typing import NDArray

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import EVALUATION_TOKENS
from textadv.corpus.store import Split, TokenStore
from textadv.errors import InputError
from textadv.evaluation.metrics import ClassificationMetrics, ScaledMetrics, classification_metrics
from textadv.evaluation.samples import Sample
from textadv.models.classifier import Classifier


def class_logits(
    classifier: Classifier, split: Split, device: str = "cpu", description: str | None = None
) -> NDArray[np.float64]:
    """Classify documents batch by batch, each of them read from its first to its last token.

    Args:
        classifier: The classifier; it is moved to the device and put into evaluation mode.
        split: The documents, n of them, at least one.
        device: Where to compute, such as `cuda`.
        description: What is being done, in a few words, where it is to be shown how far it got.

    Returns:
        Scores of the classes, shape (n, C), in the order of the documents.

    Raises:
        InputError: The classifier yields numbers that are not finite.
    """
    classifier.to(device).eval()
    rows, pieces = [], []
    for places, batch in Sample(split, np.arange(len(split))).batches(device, description, EVALUATION_TOKENS):
        with torch.inference_mode():
            logits = classifier(batch.tokens, batch.lengths)  # (B, C)
            pieces.append(logits.cpu().double().numpy())
        rows.append(places)
    stacked = np.concatenate(pieces)
    if not np.isfinite(stacked).all():
        raise InputError("the checkpoint yields probabilities that are not finite: its training has diverged")
    ordered = np.empty_like(stacked)
    ordered[np.concatenate(rows)] = stacked
    return ordered


def probabilities_at(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """softmax(z / T), (n, C): the same order of the classes at any temperature (Guo et al. 2017, equation 9)."""
    return torch.from_numpy(logits / temperature).softmax(dim=1).numpy()


def class_probabilities(
    classifier: Classifier,
    split: Split,
    device: str = "cpu",
    description: str | None = None,
    temperature: float = 1.0,
) -> NDArray[np.float64]:
    """Probabilities of the classes, (n, C). The arguments are those of `class_logits`, and the temperature."""
    return probabilities_at(class_logits(classifier, split, device, description), temperature)


def check_match(loaded: LoadedClassifier, store: TokenStore, split: str, flag: str = "--checkpoint") -> Split:
    """The split of that name, if a classifier, which the flag has given, can be measured on it.

    Raises:
        InputError: Corpus and classifier do not belong together, or the split has no (labeled) documents.
    """
    if store.tokenizer_fingerprint != loaded.card["tokenizer_fingerprint"]:
        raise InputError(f"{flag}: checkpoint and prepared corpus ({store.path}) have different tokenizers")
    if store.classes != loaded.classes:
        ours, theirs = ", ".join(store.classes), ", ".join(loaded.classes)
        raise InputError(f"{flag}: its classes are {theirs}, but those of the prepared corpus are {ours}")
    if split not in store.splits:
        raise InputError(f"--split {split}: no such split; there are {', '.join(store.splits)}")
    documents = store.splits[split]
    if not len(documents):
        raise InputError(f"--split {split}: the corpus has no documents in it")
    if (documents.labels < 0).any():
        raise InputError(f"--split {split}: its documents have no labels to measure against")
    return documents


def evaluate_split(
    loaded: LoadedClassifier, store: TokenStore, split: str, device: str = "cpu"
) -> ClassificationMetrics:
    """Measure a classifier on a split of the corpus it was trained on, or of one prepared in the same way.

    Raises:
        InputError: As `check_match`, or the classifier yields numbers that are not finite.
    """
    documents = check_match(loaded, store, split)
    logits = class_logits(loaded.classifier, documents, device, f"evaluating on {split}")
    metrics = classification_metrics(probabilities_at(logits, loaded.temperature), documents.labels)
    if "temperature" not in loaded.card:
        return metrics
    before = classification_metrics(probabilities_at(logits, 1.0), documents.labels).expected_calibration_error
    return ScaledMetrics(**vars(metrics), temperature=loaded.temperature, calibration_error_before=before)
