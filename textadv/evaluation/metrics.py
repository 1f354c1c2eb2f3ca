"""How good predictions are, in plain numbers. NumPy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from textadv.errors import InputError

CALIBRATION_BINS = 15


def classification_metrics(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Measure predictions against the truth; the predicted class is the most probable one.

    Macro-F1 is the mean over the classes that stand in the labels or the predictions; a class in neither has no F1
    and is left out.

    Args:
        probabilities: Of every class, shape (N, C), each row summing to 1.
        labels: True classes in [0, C), shape (N,).

    Returns:
        Plain Python numbers: `error` (percent), `accuracy`, `macro_f1` and `expected_calibration_error` (0 to 1),
        `calibration` (what `calibration_bins` yields), `confusion_matrix` (C lists of C counts, one list per true
        class) and `count`.

    Raises:
        InputError: There are no rows.
    """
    count, num_classes = probabilities.shape
    if count == 0:
        raise InputError("no documents to measure on")
    predictions = probabilities.argmax(axis=1)
    correct = predictions == labels
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    confusion_matrix = cells.reshape(num_classes, num_classes)  # (C, C), true class by predicted class
    return {
        "error": 100 * int(count - correct.sum()) / count,
        "accuracy": int(correct.sum()) / count,
        "macro_f1": _macro_f1(confusion_matrix),
        "expected_calibration_error": _calibration_error(probabilities.max(axis=1), correct),
        "calibration": calibration_bins(probabilities, labels),
        "confusion_matrix": confusion_matrix.tolist(),
        "count": count,
    }


def _macro_f1(confusion_matrix: NDArray[np.int64]) -> float:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes where that is defined."""
    hits = confusion_matrix.diagonal()  # (C,)
    occurrences = confusion_matrix.sum(axis=0) + confusion_matrix.sum(axis=1)  # (C,), 2 TP + FP + FN
    present = occurrences > 0
    return float((2 * hits[present] / occurrences[present]).mean())


def calibration_bins(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[dict[str, float]]:
    """Group predictions by their confidence, to set it beside how often they are right.

    Args:
        probabilities: Of every class, shape (N, C), each row summing to 1.
        labels: True classes in [0, C), shape (N,).

    Returns:
        For each bin that has predictions, by rising confidence: `lower` and `upper` edge, `count`, mean `confidence`
        and `accuracy`.
    """
    confidences = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = _bins(confidences)
    return [
        {
            "lower": (number - 1) / CALIBRATION_BINS,
            "upper": number / CALIBRATION_BINS,
            "count": int((bins == number).sum()),
            "confidence": float(confidences[bins == number].mean()),
            "accuracy": float(correct[bins == number].mean()),
        }
        for number in np.unique(bins).tolist()
    ]


def _bins(confidences: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of each confidence's bin: bin m of M holds those in ((m - 1) / M, m / M]."""
    return np.clip(np.ceil(confidences * CALIBRATION_BINS).astype(np.int64), 1, CALIBRATION_BINS)


def _calibration_error(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error: sum_m |B_m| / n · |acc(B_m) - conf(B_m)| (Guo et al. 2017, equation 3)."""
    gaps = np.bincount(_bins(confidences), weights=correct - confidences)  # |B_m| · (acc(B_m) - conf(B_m))
    return float(np.abs(gaps).sum() / len(confidences))
