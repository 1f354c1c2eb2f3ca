import pytest
import torch
from torch import Tensor

from textadv.models.pooling import last_total_largest


def by_hand(outputs: Tensor, spans: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = [row[:n] for row, n in zip(outputs, spans.tolist(), strict=True)]
    return (
        torch.stack([row[-1] for row in rows]),
        torch.stack([row.sum(0) for row in rows]),
        torch.stack([row.amax(0) for row in rows]),
    )


@pytest.fixture
def outputs() -> Tensor:
    return torch.randn(4, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.mark.parametrize("spans", [[7, 1, 4, 6], [7, 7, 7, 7], [2, 3, 2, 1]])
def test_values_and_gradients_are_those_of_the_documents_alone(outputs: Tensor, spans: list[int]) -> None:
    lengths = torch.tensor(spans)
    weights = [torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (1, 2, 3)]
    results = []
    for pool in (last_total_largest, by_hand):
        pooled = pool(outputs, lengths)
        loss = torch.stack([(p * w).sum() for p, w in zip(pooled, weights, strict=True)]).sum()
        results.append((pooled, torch.autograd.grad(loss, outputs)[0]))
    (ours, gradient), (theirs, expected) = results
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(gradient, expected, rtol=1e-14, atol=1e-14)


def test_equal_outputs_share_no_more_than_one_gradient() -> None:
    outputs = torch.zeros(1, 3, 1, requires_grad=True)
    _, _, largest = last_total_largest(outputs, torch.tensor([2]))
    (gradient,) = torch.autograd.grad(largest.sum(), outputs)
    assert gradient.sum() == 1
    assert gradient[0, 2] == 0
