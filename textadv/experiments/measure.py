"""What a row says about a run: how good its predictions are, and what machine it ran on."""

import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch
from textadv.corpus.datamodules import FixedBatches
from textadv.evaluation.metrics import classification_metrics
from textadv.system.progress import progress

Predictor = Callable[[Batch], NDArray[np.float64]]  # probabilities of the classes, (B, C)


def network_predictor(loaded: LoadedClassifier, device: str) -> Predictor:
    """The predictions of a classifier, each document read from its first to its last token."""
    classifier = loaded.classifier.to(device).eval()

    def predict(batch: Batch) -> NDArray[np.float64]:
        with torch.inference_mode():
            logits = classifier(batch.tokens.to(device), batch.lengths)  # (B, C)
            probabilities: NDArray[np.float64] = logits.cpu().double().softmax(dim=1).numpy()
        return probabilities

    return predict


def quality(predict: Predictor, batches: FixedBatches, description: str) -> dict[str, float] | None:
    """How good predictions are.

    Args:
        predict: Whose.
        batches: Documents; those without a label are left out.
        description: What is being done, in a few words.

    Returns:
        Error in percent, macro-F1 and expected calibration error from 0 to 1; None where no document has a label.
    """
    if not len(batches):
        return None
    pairs = [(predict(batch), batch.labels.numpy()) for batch in progress(batches, len(batches), description)]
    probabilities, labels = (np.concatenate(side) for side in zip(*pairs, strict=True))
    if not (labels >= 0).any():
        return None
    metrics = classification_metrics(probabilities[labels >= 0], labels[labels >= 0])
    return {
        "error": metrics.error,
        "macro_f1": metrics.macro_f1,
        "calibration_error": metrics.expected_calibration_error,
    }


def machine_name(device: str) -> str:
    """What was computed on: the GPU, or the kind and number of the processor's cores."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    return f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
