import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from textadv.errors import InputError
from textadv.evaluation.metrics import CALIBRATION_BINS, CalibrationBin, calibration_bins, classification_metrics

# Predicted 0, 0, 1, 2, 1; true 0, 1, 1, 2, 0.
PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0], [0.3, 0.5, 0.2]])
LABELS = np.array([0, 1, 1, 2, 0])


def test_three_classes_by_hand():
    metrics = classification_metrics(PROBABILITIES, LABELS)
    assert metrics.count == 5
    assert metrics.accuracy == 0.6
    assert metrics.error == 40.0
    assert metrics.confusion_matrix == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert metrics.macro_f1 == pytest.approx((2 / 4 + 2 / 4 + 2 / 2) / 3)
    # Bins: {0.9 right}, {0.5 wrong, 0.5 wrong}, {0.7 right}, {1.0 right}.
    assert metrics.expected_calibration_error == pytest.approx((0.1 + 2 * 0.5 + 0.3 + 0.0) / 5)


def test_rows_of_the_confusion_matrix_are_true_classes():
    assert classification_metrics(np.array([[0.2, 0.8]]), np.array([0])).confusion_matrix == [[0, 1], [0, 0]]


def test_confidences_of_one_bin_cancel_and_bins_include_their_upper_edge():
    def calibration_error(*confidences):
        probabilities = np.array([[p, 1 - p] for p in confidences])
        return classification_metrics(probabilities, np.array([0, 1])).expected_calibration_error

    # Both in (9/15, 10/15]: |1 - 0.62 + 0 - 0.66| / 2.
    assert calibration_error(0.62, 0.66) == pytest.approx(0.14)
    # 0.6 is the upper edge of (8/15, 9/15], 0.61 is in the next bin: (0.4 + 0.61) / 2.
    assert calibration_error(0.6, 0.61) == pytest.approx(0.505)


def test_a_class_in_neither_labels_nor_predictions_has_no_f1():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.1, 0.9, 0.0]])
    # Class 0: TP 1, FP 1; class 1: TP 1, FN 1; class 2 left out.
    assert classification_metrics(probabilities, np.array([0, 1, 1])).macro_f1 == pytest.approx(2 / 3)
    # Class 0 is predicted but never true: its F1 is 0 and counts.
    assert classification_metrics(probabilities, np.array([1, 1, 1])).macro_f1 == pytest.approx((0 + 2 / 4) / 2)


def test_perfect_and_certain():
    metrics = classification_metrics(np.eye(4)[[3, 1, 0, 2]], np.array([3, 1, 0, 2]))
    assert (metrics.error, metrics.macro_f1, metrics.expected_calibration_error) == (0.0, 1.0, 0.0)


def test_numbers_are_plain():
    metrics = classification_metrics(PROBABILITIES, LABELS)
    assert {name: type(value) for name, value in asdict(metrics).items()} == {
        "error": float,
        "accuracy": float,
        "macro_f1": float,
        "expected_calibration_error": float,
        "calibration": list,
        "confusion_matrix": list,
        "count": int,
    }
    assert json.loads(json.dumps(asdict(metrics))) == asdict(metrics)


def test_nothing_to_measure_is_refused():
    with pytest.raises(InputError, match="no documents"):
        classification_metrics(np.zeros((0, 2)), np.zeros(0, np.int64))


def test_calibration_bins_by_hand():
    bins = calibration_bins(PROBABILITIES, LABELS)
    # Both confidences of 0.5 are in (7/15, 8/15]: neither is right.
    assert bins[0] == CalibrationBin(lower=7 / 15, upper=8 / 15, count=2, confidence=0.5, accuracy=0.0)
    assert [bin.count for bin in bins] == [2, 1, 1, 1]
    assert [bin.upper for bin in bins] == [8 / 15, 11 / 15, 14 / 15, 1.0]


@pytest.mark.parametrize("num_classes", [2, 3, 6])
def test_torchmetrics_agrees(num_classes):
    """Where no confidence lies on the edge of a bin, and up to its float32."""
    random = np.random.default_rng(num_classes)
    probabilities = random.dirichlet(np.ones(num_classes), 200)
    labels = random.integers(0, max(2, num_classes - 1), 200)
    ours = classification_metrics(probabilities, labels)
    theirs = torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes
    assert ours.confusion_matrix == multiclass_confusion_matrix(*theirs).tolist()
    assert ours.accuracy == pytest.approx(multiclass_accuracy(*theirs, average="micro").item(), rel=1e-6)
    assert ours.macro_f1 == pytest.approx(multiclass_f1_score(*theirs, average="macro").item(), rel=1e-6)
    error = multiclass_calibration_error(*theirs, n_bins=CALIBRATION_BINS).item()
    assert ours.expected_calibration_error == pytest.approx(error, rel=1e-6)
