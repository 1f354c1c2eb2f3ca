"""What a row says about a run: how good its predictions are, and what machine it ran on."""

import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from textadv.corpus.store import Split
from textadv.evaluation.metrics import classification_metrics

# From the documents of a split, n of them, and words for the progress to the probabilities of the classes, (n, C).
Predictor = Callable[[Split, str], NDArray[np.float64]]


def quality(predict: Predictor, split: Split, description: str) -> dict[str, float] | None:
    """How good predictions are.

    Args:
        predict: Whose.
        split: Documents; those without a label do not count.
        description: What is being done, in a few words.

    Returns:
        Error in percent, macro-F1 and expected calibration error from 0 to 1; None where no document has a label.
    """
    labeled = split.labels >= 0
    if not labeled.any():
        return None
    metrics = classification_metrics(predict(split, description)[labeled], split.labels[labeled])
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
