import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from textadv.adversarial.norms import l2_norm, perturbation_mask, scale_to_norm


def test_perturbation_mask_leaves_out_padding_and_the_final_eos() -> None:
    mask = perturbation_mask(torch.tensor([4, 1, 2]), 4)
    assert mask.tolist() == [[True, True, True, False], [False] * 4, [True, False, False, False]]


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
    mask = perturbation_mask(torch.tensor([length]), 4)
    scaled = scale_to_norm(x, mask, epsilon)
    assert torch.isfinite(scaled).all()
    assert (scaled[~mask] == 0).all()
    expected = epsilon if (x[mask] != 0).any() else 0.0
    assert math.isclose(scaled.double().norm().item(), expected, rel_tol=1e-5)
