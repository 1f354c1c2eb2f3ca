import math

import pytest
import torch
from torch import Tensor

from textadv.adversarial.divergences import cross_entropy, entropy, kl_divergence, local_distributional_smoothness


def _logits(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def test_cross_entropy_is_per_example() -> None:
    logits = torch.cat([_logits(0.25, 0.75), _logits(0.9, 0.1)])
    loss = cross_entropy(logits, torch.tensor([0, 1]))
    assert loss.tolist() == pytest.approx([-math.log(0.25), -math.log(0.1)], rel=1e-14)


def test_cross_entropy_survives_a_confidence_that_rounds_to_one() -> None:
    logits = torch.tensor([[30.0, 0.0], [0.0, 40.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0, 1]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    sizes = [9.3576e-14, 4.2484e-18]
    assert loss.tolist() == pytest.approx(sizes, rel=1e-4, abs=0)
    assert gradient[:, 0].tolist() == pytest.approx([-sizes[0], sizes[1]], rel=1e-4, abs=0)
    assert torch.equal(gradient[:, 0], -gradient[:, 1])


def test_kl_divergence_is_from_clean_to_perturbed() -> None:
    forward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)  # 0.5108
    backward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)  # 0.3681
    even, skewed = _logits(0.5, 0.5), _logits(0.9, 0.1)
    assert kl_divergence(even, skewed).tolist() == pytest.approx([forward], rel=1e-14)
    assert kl_divergence(skewed, even).tolist() == pytest.approx([backward], rel=1e-14)


def test_kl_divergence_does_not_depend_on_a_constant_added_to_the_logits() -> None:
    clean, perturbed = _logits(0.2, 0.3, 0.5), _logits(0.6, 0.3, 0.1)
    assert torch.allclose(kl_divergence(clean + 7, perturbed - 3), kl_divergence(clean, perturbed), rtol=1e-12)


def test_kl_divergence_of_equal_logits_is_zero_with_zero_gradient() -> None:
    clean = torch.tensor([[0.3, -1.2, 2.0], [1e4, -1e4, 0.0]], dtype=torch.float64)
    perturbed = clean.clone().requires_grad_()
    divergence = kl_divergence(clean, perturbed)
    (gradient,) = torch.autograd.grad(divergence.sum(), perturbed)
    assert (divergence == 0).all()
    assert gradient.abs().max() < 1e-15


def test_kl_divergence_has_the_gradient_q_minus_p() -> None:
    clean, perturbed = _logits(0.2, 0.3, 0.5), _logits(0.6, 0.3, 0.1).requires_grad_()
    (gradient,) = torch.autograd.grad(kl_divergence(clean, perturbed).sum(), perturbed)
    assert gradient[0].tolist() == pytest.approx([0.4, 0.0, -0.4], abs=1e-14)


def test_entropy() -> None:
    logits = torch.cat([_logits(0.25, 0.25, 0.25, 0.25), _logits(0.5, 0.5, 1e-300, 1e-300)])
    assert entropy(logits).tolist() == pytest.approx([math.log(4), math.log(2)], rel=1e-14)


def test_values_and_gradients_are_finite_for_saturated_float32_logits() -> None:
    clean = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], requires_grad=True)
    perturbed = torch.tensor([[-1e4, 1e4], [-1e4, 1e4], [0.0, 1.0]], requires_grad=True)
    values = kl_divergence(clean, perturbed) + entropy(perturbed) + cross_entropy(perturbed, torch.tensor([0, 1, 1]))
    gradients = torch.autograd.grad(values.sum(), [clean, perturbed])
    assert torch.isfinite(values).all()
    assert values[0].item() == 4e4
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_half_precision_logits_are_promoted() -> None:
    logits = torch.tensor([[0.5, -1.25], [2.0, 3.0]], dtype=torch.bfloat16)
    labels = torch.tensor([0, 1])
    assert torch.equal(cross_entropy(logits, labels), cross_entropy(logits.float(), labels))
    assert torch.equal(kl_divergence(logits, -logits), kl_divergence(logits.float(), -logits.float()))
    assert torch.equal(entropy(logits), entropy(logits.float()))


def test_smoothness_is_the_divergence_from_the_clean_prediction_with_the_clean_side_fixed() -> None:
    clean = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log().requires_grad_()
    perturbed = torch.tensor([[0.9, 0.1]], dtype=torch.float64).log().requires_grad_()
    lds = local_distributional_smoothness(clean, perturbed)
    lds.sum().backward()
    assert lds.tolist() == pytest.approx([0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)], rel=1e-14)
    assert clean.grad is None
    assert perturbed.grad is not None
    assert perturbed.grad[0].tolist() == pytest.approx([0.4, -0.4], abs=1e-14)
