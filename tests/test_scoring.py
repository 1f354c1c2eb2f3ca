import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score

from textadv.evaluation.evaluate import probabilities_at
from textadv.scoring import TEMPERATURES, fit_temperature, macro_f1


def likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood, as torch has it."""
    return F.cross_entropy(torch.from_numpy(logits / temperature), torch.from_numpy(labels)).item()


def draw(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    """Labels by the probabilities that the logits say."""
    return (logits + rng.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0, 12.0])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_temperature_that_was_put_in_is_found(temperature: float, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    calibrated = rng.normal(0, 1.5, (20_000, num_classes))
    labels = draw(rng, calibrated)
    assert fit_temperature(temperature * calibrated, labels) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("seed", range(12))
def test_the_likelihood_is_at_its_maximum(seed: int) -> None:
    """Also of few labels and of a classifier that knows nothing; T = 1 is never better."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 10 ** rng.uniform(-2, 2), (int(rng.integers(5, 40)), 3))
    labels = draw(rng, logits / 10 ** rng.uniform(-1, 1)) if seed % 2 else rng.integers(0, 3, len(logits))
    found = fit_temperature(logits, labels)
    best = likelihood(logits, labels, found)
    assert best <= likelihood(logits, labels, 1.0) + 1e-12
    if (logits.argmax(1) != labels).any():
        grid = np.geomspace(*TEMPERATURES, 300)
        assert best <= min(likelihood(logits, labels, float(one)) for one in grid) + 1e-12


def test_labels_that_are_all_right_fit_no_temperature() -> None:
    logits = np.array([[0.1, 0.0], [0.0, 3.0]])
    assert fit_temperature(logits, np.array([0, 1])) == 1.0
    assert fit_temperature(logits, np.array([1, 1])) != 1.0


def test_labels_that_are_all_wrong_are_least_unlikely_at_the_largest_temperature() -> None:
    assert fit_temperature(np.array([[2.0, 0.0]] * 4), np.array([1] * 4)) == pytest.approx(TEMPERATURES[1])


@pytest.mark.parametrize("temperature", [*TEMPERATURES, 0.7, 4.0])
def test_no_temperature_changes_a_prediction(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 5, (1000, 4)).astype(np.float32).astype(np.float64)
    assert np.array_equal(probabilities_at(logits, temperature).argmax(1), logits.argmax(1))


def test_macro_f1_is_that_of_scikit_learn() -> None:
    """Of classes that do not occur, and of one that is only predicted, as well."""
    labels, predictions = np.array([0, 0, 0, 1, 1, 4]), np.array([0, 0, 1, 1, 3, 4])
    cells = np.bincount(labels * 5 + predictions, minlength=25).reshape(5, 5)
    assert macro_f1(cells) == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert macro_f1(cells.astype(float)) == macro_f1(cells)
