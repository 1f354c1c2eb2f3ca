import numpy as np
import pytest
import torch
from torch import Tensor

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch
from textadv.evaluation import masking
from textadv.evaluation.attacks import Attack, clean_pass, right_under_attacks
from textadv.models.classifier import Classifier
from textadv.models.clean_pass import CleanPass


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 2])


@pytest.fixture
def batch(labels: Tensor) -> Batch:
    tokens = torch.tensor([[3, 4, 5, 6, 2], [7, 8, 9, 10, 2], [4, 9, 3, 5, 2]])
    return Batch(tokens, torch.tensor([5, 5, 5]), labels)


@pytest.fixture
def victim(loaded: LoadedClassifier, batch: Batch) -> CleanPass:
    return clean_pass(loaded.classifier, batch)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def in_parts(batch: Batch, labels: Tensor) -> list[Batch]:
    """A batch of one document and one of the others."""
    return [Batch(batch.tokens[rows], batch.lengths[rows], labels[rows]) for rows in (slice(1), slice(1, None))]


def mask_the_gradient(classifier: Classifier) -> Classifier:
    """A classifier whose logits are rounded: they change, but their gradient is zero."""
    original = classifier.classify
    classifier.classify = lambda x, lengths: original(x, lengths).mul(8).round() + 0 * x.sum()  # type: ignore[method-assign]
    return classifier


def test_logits_repeat_or_do_not(loaded: LoadedClassifier, batch: Batch, labels: Tensor) -> None:
    parts = in_parts(batch, labels)
    assert masking.check_repeatability(loaded.classifier, parts).passed
    original = loaded.classifier.classify
    generators = [torch.Generator().manual_seed(0) for _ in parts]

    def noisy(x: Tensor, lengths: Tensor) -> Tensor:
        """Only the second batch is not repeated."""
        return original(x, lengths) + (len(lengths) > 1) * torch.rand((), generator=generators[0])

    loaded.classifier.classify = noisy  # type: ignore[method-assign]
    assert masking.check_repeatability(loaded.classifier, parts[:1]).passed
    assert not masking.check_repeatability(loaded.classifier, parts).passed


@pytest.mark.parametrize(("share", "passed"), [(0.0, True), (0.001, False)])
def test_zero_gradients_are_seen(share: float, passed: bool) -> None:
    check = masking.check_gradients(share)
    assert check.passed is passed
    assert f"{share:.1%}" in check.detail


def test_batches_are_joined(victim: CleanPass, batch: Batch) -> None:
    labels = victim.logits.argmax(1)
    attacks = [(Attack("fgsm", "l2"), [0.1, 5.0]), (Attack("fgsm", "linf"), [0.1])]
    whole = right_under_attacks(attacks, victim, victim, labels, generator())
    parts = masking.right_in_batches(attacks, victim.classifier, in_parts(batch, labels), generator())
    assert [array.tolist() for array in parts] == [array.tolist() for array in whole]


def test_huge_perturbations(victim: CleanPass, batch: Batch) -> None:
    parts = in_parts(batch, victim.logits.argmax(1))
    assert masking.check_huge_perturbation(victim.classifier, parts, 1.0, generator()).passed
    assert not masking.check_huge_perturbation(mask_the_gradient(victim.classifier), parts, 1.0, generator()).passed


def test_many_steps(victim: CleanPass, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = in_parts(batch, victim.logits.argmax(1))
    assert masking.check_many_steps(victim.classifier, parts, 2.0, generator()).passed
    monkeypatch.setattr(masking, "right_in_batches", lambda *_: [np.array([[True, False]]), np.array([[True, True]])])
    check = masking.check_many_steps(victim.classifier, parts, 2.0, generator())
    assert not check.passed
    assert "100.0% with 50 steps, 50.0% with one" in check.detail


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
