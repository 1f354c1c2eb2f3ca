import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from norm_of import norm_of
from torch import Tensor

from textadv.adversarial.norms import (
    Norm,
    l2_norm,
    project,
    scale_to_norm,
    steepest_step,
)
from textadv.models.encoders import positions_before

each_norm = pytest.mark.parametrize("norm", ["l2", "linf"])


def test_l2_norm_is_over_everything_but_the_batch() -> None:
    x = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]])
    assert l2_norm(x).tolist() == [5.0, 2.0]


def test_l2_norm_of_half_precision_is_summed_in_float32() -> None:
    norm = l2_norm(torch.ones(1, 100, 100, dtype=torch.bfloat16))
    assert norm.dtype == torch.float32
    assert norm.item() == 100.0


def test_scale_to_norm_ignores_masked_positions_even_if_not_finite(embeddings: Tensor, mask: Tensor) -> None:
    polluted = embeddings.masked_fill(~mask[..., None], math.nan)
    scaled = scale_to_norm(polluted, mask, 5.0)
    assert torch.equal(scaled, scale_to_norm(embeddings, mask, 5.0))
    assert (scaled[~mask] == 0).all()
    assert torch.allclose(l2_norm(scaled), torch.tensor(5.0, dtype=torch.float64))


def test_scale_to_norm_keeps_the_direction(embeddings: Tensor, mask: Tensor) -> None:
    kept = embeddings * mask[..., None]
    expected = 2.5 * kept / kept.flatten(1).norm(dim=1)[:, None, None]
    assert torch.allclose(scale_to_norm(embeddings, mask, 2.5), expected, rtol=1e-14)


def test_scale_to_norm_treats_each_example_alone() -> None:
    x = torch.stack([torch.full((2, 2), 1e-30), torch.zeros(2, 2), torch.full((2, 2), 1e30)])
    scaled = scale_to_norm(x, torch.ones(3, 2, dtype=torch.bool), 1.0)
    assert scaled.flatten(1).tolist() == [[0.5] * 4, [0.0] * 4, [0.5] * 4]


@pytest.mark.parametrize("epsilon", [0.0, 5.0])
def test_scale_to_norm_of_a_document_without_words_is_zero(epsilon: float) -> None:
    scaled = scale_to_norm(torch.ones(2, 3, 2), torch.zeros(2, 3, dtype=torch.bool), epsilon)
    assert (scaled == 0).all()


@st.composite
def _float32_sequences(draw: st.DrawFn) -> Tensor:
    scale = 10.0 ** draw(st.integers(-38, 38))  # entries alike in size, mixed with others of any size
    entry = st.floats(-3.0, 3.0).map(lambda x: x * scale) | st.floats(width=32, allow_nan=False, allow_infinity=False)
    return torch.tensor(draw(st.lists(entry, min_size=8, max_size=8)), dtype=torch.float32).reshape(1, 4, 2)


@settings(max_examples=150, deadline=None)
@given(x=_float32_sequences(), length=st.integers(1, 5), epsilon=st.sampled_from([1e-3, 1.0, 5.0, 100.0]))
def test_scale_to_norm_is_finite_and_of_norm_epsilon_for_any_float32(x: Tensor, length: int, epsilon: float) -> None:
    mask = positions_before(torch.tensor([length]) - 1, torch.ones(1, 4))
    scaled = scale_to_norm(x, mask, epsilon)
    assert torch.isfinite(scaled).all()
    assert (scaled[~mask] == 0).all()
    expected = epsilon if (x[mask] != 0).any() else 0.0
    assert math.isclose(scaled.double().norm().item(), expected, rel_tol=1e-5)


@each_norm
def test_norms_of_half_precision_are_in_float32(norm: Norm, mask: Tensor) -> None:
    x = torch.ones(3, 6, 3, dtype=torch.bfloat16)
    results = (steepest_step(x, mask, 5.0, norm), project(x, mask, 5.0, norm))
    assert all(result.dtype == torch.float32 for result in results)


def test_steepest_step_raises_a_linear_loss_by_the_dual_norm(embeddings: Tensor, mask: Tensor) -> None:
    gradient = embeddings * mask[..., None]
    duals: dict[Norm, Tensor] = {"l2": l2_norm(gradient), "linf": gradient.abs().sum((1, 2))}
    for norm, dual in duals.items():
        step = steepest_step(embeddings, mask, 2.5, norm)
        assert torch.allclose((gradient * step).sum((1, 2)), 2.5 * dual, rtol=1e-14)  # the bound of Hoelder
        assert torch.allclose(norm_of(step, norm), torch.tensor(2.5, dtype=torch.float64), rtol=1e-14)


def test_steepest_step_in_linf_is_the_sign(mask: Tensor) -> None:
    gradient = torch.full((3, 6, 3), -1e-45)
    gradient[..., 1], gradient[..., 2] = 0.0, 1e30
    step = steepest_step(gradient, mask, 0.5, "linf")
    assert torch.equal(step, torch.tensor([-0.5, 0.0, 0.5]) * mask[..., None])


@each_norm
def test_steps_and_projections_ignore_masked_positions_even_if_not_finite(
    norm: Norm, embeddings: Tensor, mask: Tensor
) -> None:
    polluted = embeddings.masked_fill(~mask[..., None], math.nan)
    for function in (steepest_step, project):
        result = function(polluted, mask, 0.5, norm)
        assert torch.equal(result, function(embeddings, mask, 0.5, norm))
        assert (result[~mask] == 0).all()


@each_norm
def test_a_zero_gradient_gives_a_zero_step(norm: Norm, mask: Tensor) -> None:
    assert (steepest_step(torch.zeros(3, 6, 3), mask, 5.0, norm) == 0).all()
    assert (project(torch.zeros(3, 6, 3), mask, 5.0, norm) == 0).all()


@each_norm
def test_project_changes_only_the_examples_outside_of_the_ball(norm: Norm, embeddings: Tensor, mask: Tensor) -> None:
    words = embeddings * mask[..., None]
    norms = norm_of(words, norm)
    r = embeddings * (torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64) / norms)[:, None, None]
    kept = r * mask[..., None]
    projected = project(r, mask, 1.5, norm)
    assert torch.equal(projected[:2], kept[:2])
    assert norm_of(projected, norm)[2].item() == pytest.approx(1.5, rel=1e-14)
    assert (projected[~mask] == 0).all()


def test_project_scales_in_l2_and_clips_in_linf() -> None:
    r = torch.tensor([[[3.0, 0.0], [0.0, -4.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert torch.allclose(project(r, mask, 1.0, "l2"), r / 5, rtol=1e-6)
    assert project(r, mask, 3.5, "linf").tolist() == [[[3.0, 0.0], [0.0, -3.5]]]


@each_norm
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_project_is_safe_for_perturbations_of_any_size(norm: Norm, scale: float, mask: Tensor) -> None:
    r = torch.full((3, 6, 3), scale)
    projected = project(r, mask, 1.0, norm)
    if scale < 1:
        assert torch.equal(projected, r * mask[..., None])
    else:
        assert torch.allclose(norm_of(projected, norm), torch.ones(3))


@each_norm
def test_project_onto_a_ball_of_no_size_is_zero(norm: Norm, embeddings: Tensor, mask: Tensor) -> None:
    assert (project(embeddings, mask, 0.0, norm) == 0).all()
