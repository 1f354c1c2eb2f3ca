"""What training selects by and evaluation reports: macro-F1, and the temperature of probabilities. NumPy only."""

import math

import numpy as np
from numpy.typing import NDArray

TEMPERATURES = (0.01, 100.0)  # beyond these, all probabilities are 0 and 1, or all alike
BISECTIONS = 60  # as many halve the range, in its logarithm, down to the precision of float64


def macro_f1(confusion_matrix: NDArray[np.int64] | NDArray[np.float64]) -> float:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes where that is defined.

    Args:
        confusion_matrix: Counts of true class by predicted class, (C, C), not all of them 0.

    Returns:
        From 0 to 1.
    """
    hits = confusion_matrix.diagonal()  # (C,)
    occurrences = confusion_matrix.sum(axis=0) + confusion_matrix.sum(axis=1)  # (C,), 2 TP + FP + FN
    present = occurrences > 0
    return float((2 * hits[present] / occurrences[present]).mean())


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature T at which softmax(z / T) gives the labels the largest likelihood (Guo et al. 2017, section 4.2).

    The negative log-likelihood is convex in 1 / T, and its derivative is the mean of sum_c p_c z_c - z_y. This rises
    with 1 / T, so bisection finds where it is 0.

    Args:
        logits: Scores of the classes, z, (N, C).
        labels: True classes, y, (N,).

    Returns:
        A number in `TEMPERATURES`; 1 if every label has the largest logit, for no T is best then: the smaller it is,
        the larger is the likelihood.
    """
    right = logits[np.arange(len(labels)), labels]  # (N,)
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    shifted = logits - logits.max(axis=1, keepdims=True)  # (N, C), at most 0
    low, high = (math.log(temperature) for temperature in TEMPERATURES)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        weights = np.exp(shifted * math.exp(-middle))
        expected = (weights * logits).sum(axis=1) / weights.sum(axis=1)  # (N,), sum_c p_c z_c
        if (expected - right).mean() > 0:
            low = middle  # too sure
        else:
            high = middle
    return math.exp((low + high) / 2)
