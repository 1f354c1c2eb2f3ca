import pytest
import torch
from torch import Tensor

from textadv.models.layers import LastMeanMax


def by_hand(outputs: Tensor, spans: Tensor) -> Tensor:
    rows = [row[:n] for row, n in zip(outputs, spans.tolist(), strict=True)]
    return torch.stack([torch.cat([row[-1], row.mean(0), row.amax(0)]) for row in rows])


def pooled(outputs: Tensor, spans: Tensor) -> Tensor:
    pool = LastMeanMax(outputs.new_zeros(len(outputs), outputs.shape[2]))
    pool.add_spans(outputs, spans)
    return pool.features(outputs[torch.arange(len(outputs)), spans - 1], spans)


@pytest.fixture
def outputs() -> Tensor:
    return torch.randn(4, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.mark.parametrize("spans", [[7, 1, 4, 6], [7, 7, 7, 7], [2, 3, 2, 1]])
def test_values_and_gradients_are_those_of_the_documents_alone(outputs: Tensor, spans: list[int]) -> None:
    lengths = torch.tensor(spans)
    weights = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for pool in (pooled, by_hand):
        features = pool(outputs, lengths)
        results.append((features, torch.autograd.grad((features * weights).sum(), outputs)[0]))
    (ours, gradient), (theirs, expected) = results
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(gradient, expected, rtol=1e-14, atol=1e-14)


def test_parts_that_are_added_before_count(outputs: Tensor) -> None:
    values = outputs.detach()
    rows = torch.tensor([1, 3])  # whose first three outputs came before
    pool = LastMeanMax(values.new_zeros(4, 3))
    pool.add(values[rows, :3], rows)
    rest = values.clone()
    rest[rows, :4] = values[rows, 3:]
    spans = torch.tensor([7, 4, 7, 4])
    pool.add_spans(rest, spans)
    features = pool.features(values[:, -1], torch.full((4,), 7))
    torch.testing.assert_close(features, by_hand(values, torch.full((4,), 7)))


def test_equal_outputs_share_no_more_than_one_gradient() -> None:
    outputs = torch.zeros(1, 3, 1, requires_grad=True)
    largest = pooled(outputs, torch.tensor([2]))[:, 2]
    (gradient,) = torch.autograd.grad(largest.sum(), outputs)
    assert gradient.sum() == 1
    assert gradient[0, 2] == 0
