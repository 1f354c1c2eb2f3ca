"""How good predictions are, in plain numbers. NumPy only.

torchmetrics agrees with these functions in `tests/evaluation/test_metrics.py`. It does not take their place, as its
calibration error closes bins on the left and keeps them to itself, its scores are rounded to float32, and importing it
takes half as long as importing torch again, for `predict` as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textadv.errors import InputError
from textadv.scoring import macro_f1

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions of similar confidence."""

    lower: float  # lower edge of the confidences, not included
    upper: float  # upper edge, included
    count: int  # number of predictions, at least one
    confidence: float  # their mean confidence
    accuracy: float  # the share that is right


@dataclass(frozen=True)
class ClassificationMetrics:
    """How good predictions are."""

    error: float  # share of wrong predictions in percent
    accuracy: float  # share of right predictions, 0 to 1
    macro_f1: float  # mean F1 over the classes in the labels or the predictions; a class in neither has no F1
    expected_calibration_error: float  # 0 to 1 (Guo et al. 2017, equation 3)
    calibration: list[CalibrationBin]  # the bins it is made of, by rising confidence
    confusion_matrix: list[list[int]]  # counts, one list per true class, one number per predicted class
    count: int  # number of documents


@dataclass(frozen=True)
class ScaledMetrics(ClassificationMetrics):
    """How good predictions are whose probabilities have a temperature."""

    temperature: float  # by which the logits were divided
    calibration_error_before: float  # the expected calibration error of the logits as they are


def classification_metrics(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> ClassificationMetrics:
    """Measure predictions against the truth; the predicted class is the most probable one.

    Args:
        probabilities: Of every class, shape (N, C), each row summing to 1.
        labels: True classes in [0, C), shape (N,).

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
    bins = calibration_bins(probabilities, labels)
    return ClassificationMetrics(
        error=100 * int(count - correct.sum()) / count,
        accuracy=int(correct.sum()) / count,
        macro_f1=macro_f1(confusion_matrix),
        expected_calibration_error=sum(bin.count * abs(bin.accuracy - bin.confidence) for bin in bins) / count,
        calibration=bins,
        confusion_matrix=confusion_matrix.tolist(),
        count=count,
    )


def calibration_bins(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[CalibrationBin]:
    """Group predictions by their confidence, to set it beside how often they are right.

    Arguments are those of `classification_metrics`. Only bins that have predictions are returned, by rising confidence:
    bin m of M holds those in ((m - 1) / M, m / M].
    """
    confidences = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidences * CALIBRATION_BINS).astype(np.int64), 1, CALIBRATION_BINS)
    return [
        CalibrationBin(
            lower=(number - 1) / CALIBRATION_BINS,
            upper=number / CALIBRATION_BINS,
            count=int((bins == number).sum()),
            confidence=float(confidences[bins == number].mean()),
            accuracy=float(correct[bins == number].mean()),
        )
        for number in np.unique(bins).tolist()
    ]
