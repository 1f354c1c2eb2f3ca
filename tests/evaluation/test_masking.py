import numpy as np
import pytest
import torch
from torch import Tensor

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch
from textadv.evaluation import masking
from textadv.evaluation.attacks import Victim


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 2])


@pytest.fixture
def batch(labels: Tensor) -> Batch:
    tokens = torch.tensor([[3, 4, 5, 6, 2], [7, 8, 9, 10, 2], [4, 9, 3, 5, 2]])
    return Batch(tokens, torch.tensor([5, 5, 5]), labels)


@pytest.fixture
def victim(loaded: LoadedClassifier, batch: Batch) -> Victim:
    return Victim.of(loaded.classifier, batch)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def mask_the_gradient(victim: Victim) -> Victim:
    """A classifier whose logits are rounded: they change, but their gradient is zero."""
    original = victim.classifier.classify
    victim.classifier.classify = lambda x, lengths: original(x, lengths).mul(8).round() + 0 * x.sum()  # type: ignore[method-assign]
    return victim


def test_logits_repeat_or_do_not(loaded: LoadedClassifier, batch: Batch) -> None:
    assert masking.check_repeatability(loaded.classifier, batch).passed
    loaded.classifier.train()  # with dropout
    assert not masking.check_repeatability(loaded.classifier, batch).passed


def test_zero_gradients_are_seen(victim: Victim, labels: Tensor) -> None:
    assert masking.check_gradients(victim, labels).passed
    check = masking.check_gradients(mask_the_gradient(victim), labels)
    assert not check.passed
    assert "100.0%" in check.detail


def test_huge_perturbations(victim: Victim, labels: Tensor) -> None:
    predictions = victim.logits().argmax(1)
    assert masking.check_huge_perturbation(victim, predictions, 1.0, generator()).passed
    assert not masking.check_huge_perturbation(mask_the_gradient(victim), predictions, 1.0, generator()).passed


def test_many_steps(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = victim.logits().argmax(1)
    assert masking.check_many_steps(victim, predictions, 2.0, generator()).passed
    accuracies = iter([0.5, 0.6])
    monkeypatch.setattr(masking, "_accuracy", lambda *_: next(accuracies))
    assert not masking.check_many_steps(victim, predictions, 2.0, generator()).passed


@pytest.mark.parametrize(("curve", "passed"), [([0.9, 0.5, 0.5], True), ([0.9, 0.5, 0.6], False)])
def test_monotony(curve: list[float], passed: bool) -> None:
    curves = {"fgsm-l2": np.array(curve), "noise-l2": np.array([0.1, 0.9, 0.1])}
    assert masking.check_monotony(curves).passed is passed


@pytest.mark.parametrize(("noise", "passed"), [([0.9, 0.8], True), ([0.9, 0.4], False)])
def test_noise(noise: list[float], passed: bool) -> None:
    assert masking.check_noise({"fgsm-l2": np.array([0.9, 0.5]), "noise-l2": np.array(noise)}).passed is passed


@pytest.mark.parametrize(("transferred", "passed"), [([0.9, 0.6], True), ([0.8, 0.6], False)])
def test_transfer(transferred: list[float], passed: bool) -> None:
    white_box = {"fgsm-l2": np.array([0.9, 0.5]), "noise-l2": np.array([0.9, 0.9])}
    found = {"fgsm-l2": np.array(transferred), "noise-l2": np.array([0.1, 0.1])}
    assert masking.check_transfer(white_box, found).passed is passed


def test_a_line_says_pass_or_warn() -> None:
    assert masking.Check("it holds", True, "1 of 1").line() == "pass  it holds: 1 of 1"
    assert masking.Check("it holds", False, "0 of 1").line().startswith("warn  ")
