import math

import pytest
import torch

from textadv.adversarial.objectives import local_distributional_smoothness, ramp, total_loss


def test_smoothness_is_the_divergence_from_the_clean_prediction_with_the_clean_side_fixed() -> None:
    clean = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log().requires_grad_()
    perturbed = torch.tensor([[0.9, 0.1]], dtype=torch.float64).log().requires_grad_()
    lds = local_distributional_smoothness(clean, perturbed)
    lds.sum().backward()
    assert lds.tolist() == pytest.approx([0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)], rel=1e-14)
    assert clean.grad is None
    assert perturbed.grad is not None
    assert perturbed.grad[0].tolist() == pytest.approx([0.4, -0.4], abs=1e-14)


def test_ramp_rises_linearly_to_one_and_stays() -> None:
    assert [ramp(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert ramp(0, 0) == 1.0


def test_total_loss_weighs_the_means() -> None:
    loss = total_loss(torch.tensor(1.5), torch.tensor([3.0, 5.0]), torch.tensor([1.0, 2.0, 6.0]), 0.5, 2.0)
    assert loss.item() == 1.5 + 0.5 * 4 + 2 * 3


@pytest.mark.parametrize("value", [math.pi, math.inf, math.nan])
def test_total_loss_without_perturbed_terms_is_bitwise_the_supervised_mean(value: float) -> None:
    supervised = torch.rand(())
    other = torch.full((3,), value)
    assert torch.equal(total_loss(supervised, None, None, 1.0, 1.0), supervised)
    assert torch.equal(total_loss(supervised, other, other, 0.0, 0.0), supervised)


def test_total_loss_takes_either_term_alone() -> None:
    supervised, other = torch.tensor(1.0), torch.tensor([2.0])
    assert total_loss(supervised, other, None, 3.0, 5.0).item() == 7.0
    assert total_loss(supervised, None, other, 3.0, 5.0).item() == 11.0
