from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from textadv.adversarial import virtual
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Documents
from textadv.evaluation import samples
from textadv.evaluation.report.measure import Smoothness, along_directions, smoothness
from textadv.evaluation.samples import Sample
from textadv.models.encoders import positions_before


class Linear(nn.Module):
    """Logits linear in the embeddings: what their gradient is, and how the loss grows along it, is known."""

    def __init__(self, vocabulary_size: int, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights  # (D, C)
        self.encoder = SimpleNamespace(
            seed=0, perturbation_mask=lambda tokens, lengths: positions_before(lengths - 1, tokens)
        )
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("table", torch.randn((vocabulary_size, len(weights)), generator=generator))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.table[tokens]

    def classify(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        words = torch.arange(embeddings.shape[1]) < (lengths - 1)[:, None]
        return (embeddings * words[:, :, None]).sum(1) @ self.weights


@pytest.fixture
def linear(loaded: LoadedClassifier) -> Linear:
    return Linear(loaded.card["vocabulary_size"], torch.tensor([[0.5, -0.5], [0.25, 0.25], [-0.1, 0.2], [0.0, 0.3]]))


@pytest.fixture
def two_classes(sample: Sample) -> Sample:
    return sample._replace(split=type(sample.split)(sample.split.tokens, sample.split.offsets, np.array([0, 1, 1, 0])))


def clean_logits(linear: Linear, sample: Sample) -> Tensor:
    batch = Documents(sample.split).batch(sample.rows)
    return linear.classify(linear.embed(batch.tokens), batch.lengths)


def test_loss_along_the_gradient_of_a_linear_model(
    linear: Linear, two_classes: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "BATCH_TOKENS", 10)  # several batches
    result = along_directions(linear, two_classes, 4.0, seed=0)  # type: ignore[arg-type]
    assert result.documents == 4
    np.testing.assert_allclose(result.epsilons, np.linspace(0, 4, 11))
    labels = two_classes.split.labels[two_classes.rows]
    logits = clean_logits(linear, two_classes).double().numpy()
    margins = logits[range(4), labels] - logits[range(4), 1 - labels]
    # Each of the n words yields as much: the margin falls by sqrt(n) ||w_0 - w_1|| per unit.
    words = two_classes.split.lengths[two_classes.rows] - 1
    slopes = np.sqrt(words) * float((linear.weights[:, 0] - linear.weights[:, 1]).norm())
    expected = margins[None] - np.array(result.epsilons)[:, None] * slopes
    np.testing.assert_allclose(result.gradient.margin.mean, expected.mean(1), atol=1e-5)
    np.testing.assert_allclose(result.gradient.margin.low, np.percentile(expected, 10, axis=1), atol=1e-5)
    losses = np.log1p(np.exp(-expected))
    np.testing.assert_allclose(result.gradient.loss.mean, losses.mean(1), atol=1e-5)
    assert result.linearity == pytest.approx(1, abs=1e-6)
    assert result.random.loss.mean[0] == pytest.approx(losses[0].mean(), abs=1e-6)
    assert result.random.loss.mean[-1] < result.gradient.loss.mean[-1]


def test_what_bends_is_not_called_straight(linear: Linear, two_classes: Sample) -> None:
    straight = linear.classify
    linear.classify = lambda x, lengths: straight(x, lengths).tanh() * 3  # type: ignore[method-assign]
    assert 0.2 < along_directions(linear, two_classes, 40.0, seed=0).linearity < 0.99  # type: ignore[arg-type]


def test_smoothness_of_a_linear_model(linear: Linear, two_classes: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BATCH_TOKENS", 10)
    zero, one = smoothness(linear, two_classes, [0.0, 1.5], seed=0)  # type: ignore[arg-type]
    assert zero == Smoothness(0.0, [0.0] * 4)
    p = clean_logits(linear, two_classes).double().softmax(1).numpy()
    words = two_classes.split.lengths[two_classes.rows] - 1
    shift = 1.5 * np.sqrt(words) * float((linear.weights[:, 0] - linear.weights[:, 1]).norm())
    odds = np.log(p[:, 0] / p[:, 1])
    q = [1 / (1 + np.exp(-(odds + sign * shift))) for sign in (1, -1)]
    either = [p[:, 0] * np.log(p[:, 0] / q0) + p[:, 1] * np.log(p[:, 1] / (1 - q0)) for q0 in q]
    distances = np.abs(np.array(either) - one.values).min(axis=0)  # in the order of the sample, either sign
    np.testing.assert_allclose(distances, 0, atol=1e-5)
    assert one.values[-1] == 0.0  # no words, nothing to move
    assert max(one.values) > 0.01


@pytest.mark.parametrize(("num_classes", "gradients"), [(3, 2), (4, 10), (40, 10)])
def test_many_classes_do_not_take_a_gradient_each(
    linear: Linear, sample: Sample, monkeypatch: pytest.MonkeyPatch, num_classes: int, gradients: int
) -> None:
    linear.weights = torch.randn((4, num_classes), generator=torch.Generator().manual_seed(3))
    taken = []
    grad = torch.autograd.grad

    def counting(outputs: Tensor, *arguments: Any, **options: Any) -> Any:
        taken.append(outputs)
        return grad(outputs, *arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counting)
    smoothness(linear, sample, [1.5], seed=0)  # type: ignore[arg-type]
    assert len(taken) == gradients


def test_the_power_iteration_finds_the_direction_of_the_closed_form(
    linear: Linear, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear.double().weights = torch.randn((4, 6), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (iterated,) = smoothness(linear, sample, [0.01], seed=0)  # type: ignore[arg-type]
    monkeypatch.setattr(virtual, "CLOSED_FORM_CLASSES", 6)
    (exact,) = smoothness(linear, sample, [0.01], seed=0)  # type: ignore[arg-type]
    assert iterated.values != exact.values
    np.testing.assert_allclose(iterated.values, exact.values, rtol=0.05)  # either sign


def test_several_classes_and_real_encoders(loaded: LoadedClassifier, sample: Sample) -> None:
    small, large = smoothness(loaded.classifier, sample, [0.01, 1.0], seed=0)
    assert all(0 <= a < b for a, b in list(zip(small.values, large.values, strict=True))[:3])
    result = along_directions(loaded.classifier, sample, 0.1, seed=0)
    assert result.gradient.loss.mean[-1] > result.random.loss.mean[-1]
