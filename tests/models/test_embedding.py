import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textadv.models.embedding import VARIANCE_FLOOR, NormalizedEmbedding, time_shared_dropout

VOCABULARY, SIZE = 30, 4


@pytest.fixture
def embedding() -> NormalizedEmbedding:
    torch.manual_seed(0)
    counts = torch.randint(1, 1000, (VOCABULARY,), dtype=torch.float64)
    counts[0] = 0.0  # padding
    module = NormalizedEmbedding(counts, SIZE).double()
    module.frequencies.copy_(counts / counts.sum())  # not rounded to float32 on the way
    return module


def normalized_matrix(weight: Tensor, frequencies: Tensor) -> Tensor:
    """Equation 1 of the paper, written out for the whole vocabulary."""
    mean = (frequencies[:, None] * weight).sum(0)
    variance = (frequencies[:, None] * (weight - mean) ** 2).sum(0)
    return (weight - mean) / torch.sqrt(variance + VARIANCE_FLOOR)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (50.0, 0.0), (1.0, -7.0), (20.0, 300.0)])
def test_mean_is_0_and_variance_1_weighted_by_frequency(
    embedding: NormalizedEmbedding, scale: float, shift: float
) -> None:
    with torch.no_grad():
        embedding.weight.mul_(scale).add_(shift)
    table = embedding(torch.arange(VOCABULARY))  # (V, D)
    frequencies = embedding.frequencies
    mean = frequencies @ table
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-10, rtol=0)
    variance = frequencies @ (table - mean).square()
    torch.testing.assert_close(variance, torch.ones_like(mean), atol=1e-5, rtol=0)  # the floor costs some 1e-6
    # Without the weights by frequency it would not be so.
    assert (table.var(0, correction=0) - 1).abs().max() > 0.01


def test_growing_or_shifting_the_weights_changes_nothing(embedding: NormalizedEmbedding) -> None:
    before = embedding(torch.arange(VOCABULARY))
    with torch.no_grad():
        embedding.weight.mul_(100.0).add_(5.0)
    torch.testing.assert_close(embedding(torch.arange(VOCABULARY)), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows_at_a_time", [2048, 7])
def test_values_and_gradients_equal_those_of_the_normalized_matrix(
    embedding: NormalizedEmbedding, monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int
) -> None:
    monkeypatch.setattr("textadv.models.embedding.CPU_ROWS", rows_at_a_time)
    tokens = torch.tensor([[3, 3, 7, 0], [29, 5, 2, 0]])
    coefficients = torch.randn(2, 4, SIZE, dtype=torch.float64)
    looked_up = embedding(tokens)
    (gradient,) = torch.autograd.grad((looked_up.sin() * coefficients).sum(), embedding.weight)
    expected = F.embedding(tokens, normalized_matrix(embedding.weight, embedding.frequencies))
    (expected_gradient,) = torch.autograd.grad((expected.sin() * coefficients).sum(), embedding.weight)
    torch.testing.assert_close(looked_up, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    # The statistics pass gradients on to words that are not in the batch.
    assert (gradient[10].abs() > 0).all()


def test_gradients_against_finite_differences(embedding: NormalizedEmbedding) -> None:
    tokens = torch.tensor([[3, 3, 7, 0], [29, 5, 2, 0]])

    def look_up(weight: Tensor) -> Tensor:
        return torch.func.functional_call(embedding, {"weight": weight}, (tokens,))

    assert torch.autograd.gradcheck(look_up, embedding.weight)


def test_counts_of_any_scale_are_frequencies() -> None:
    counts = torch.tensor([0.0, 2.0, 6.0], dtype=torch.float64)
    for scale in (1.0, 1e6):
        frequencies = NormalizedEmbedding(scale * counts, SIZE).frequencies
        torch.testing.assert_close(frequencies, torch.tensor([0.0, 0.25, 0.75]))


def test_statistics_are_not_rounded_by_autocast() -> None:
    torch.manual_seed(0)
    embedding = NormalizedEmbedding(torch.arange(1.0, VOCABULARY + 1), SIZE)
    tokens = torch.arange(VOCABULARY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = embedding(tokens)
    assert torch.equal(inside, embedding(tokens))


def test_a_dimension_without_variance_is_finite(embedding: NormalizedEmbedding) -> None:
    with torch.no_grad():
        embedding.weight[:, 1] = 3.0
    looked_up = embedding(torch.arange(VOCABULARY))
    (gradient,) = torch.autograd.grad(looked_up.square().sum(), embedding.weight)
    assert looked_up.isfinite().all()
    assert gradient.isfinite().all()


def test_dropout_is_shared_over_time_and_drawn_per_document_and_dimension() -> None:
    torch.manual_seed(0)
    dropped = time_shared_dropout(torch.ones(40, 6, 50), 0.25)
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (dropped == dropped[:, :1]).all()
    masks = dropped[:, 0]  # (B, D)
    assert len(masks.unique(dim=0)) == 40
    assert len(masks.unique(dim=1)[0]) == 50
    assert (masks == 0).float().mean().item() == pytest.approx(0.25, abs=0.04)  # 2000 draws: sd 0.01


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expectation(probability: float) -> None:
    torch.manual_seed(0)
    dropped = time_shared_dropout(torch.full((20_000, 1, 5), 2.0), probability)
    deviation = 2.0 * (probability / (1 - probability) / dropped.numel()) ** 0.5
    assert dropped.mean().item() == pytest.approx(2.0, abs=4 * deviation)


def test_dropout_of_0_draws_nothing() -> None:
    embeddings = torch.randn(2, 3, 4)
    state = torch.get_rng_state()
    assert time_shared_dropout(embeddings, 0.0) is embeddings
    assert torch.equal(torch.get_rng_state(), state)
