import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from textadv.adversarial import interpretable
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.interpretable import interpretable_perturbation, nearest_words, word_directions
from textadv.adversarial.norms import l2_norm

LABELS = torch.tensor([0, 1, 1])


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def directions(embeddings: Tensor) -> Tensor:
    return word_directions(embeddings, _normal(3, 6, 4, 3))


@pytest.fixture
def vocabulary() -> tuple[Tensor, Tensor]:
    """Embeddings of lengths between 1e-3 and 1e3, and a mark on every seventh word."""
    table = _normal(50, 4) * torch.logspace(-3, 3, 50, dtype=torch.float64)[torch.arange(50) * 3 % 50, None]
    return table, torch.arange(50) % 7 == 0


class LargestResult(TorchFunctionMode):
    """Remembers the number of elements of the largest tensor that a torch function returned."""

    numel = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numel = max(self.numel, result.numel())
        return result


def _brute_force(table: Tensor, token: int, num_neighbours: int, excluded: Tensor) -> list[int]:
    def cosine(other: int) -> float:
        a, b = table[token].tolist(), table[other].tolist()
        return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    others = [other for other in range(len(table)) if other != token and not excluded[other]]
    return sorted(others, key=cosine, reverse=True)[:num_neighbours]


@pytest.mark.parametrize("num_neighbours", [1, 5, 41])
def test_nearest_words_are_those_of_a_brute_force_search(
    vocabulary: tuple[Tensor, Tensor], num_neighbours: int
) -> None:
    table, excluded = vocabulary
    tokens = torch.tensor([3, 0, 49, 20, 7])  # 0, 7 and 49 are excluded themselves
    neighbours = nearest_words(table.requires_grad_(), tokens, num_neighbours, excluded)
    assert neighbours.dtype == torch.int64
    assert neighbours.tolist() == [_brute_force(table, int(token), num_neighbours, excluded) for token in tokens]


@pytest.mark.parametrize("limit", [1, 260])  # less than a row, and five rows of 50
def test_nearest_words_bounds_its_memory(
    vocabulary: tuple[Tensor, Tensor], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, excluded = vocabulary
    tokens = torch.arange(49, -1, -1)
    expected = nearest_words(table, tokens, 3, excluded)
    monkeypatch.setattr(interpretable, "SIMILARITIES_AT_ONCE", limit)
    with LargestResult() as largest:
        neighbours = nearest_words(table, tokens, 3, excluded)
    assert torch.equal(neighbours, expected)
    assert largest.numel <= max(limit, table.numel())


def test_nearest_words_are_compared_in_full_precision(
    vocabulary: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFloat-32 would round as bfloat16 does."""
    asked: list[torch.device] = []
    monkeypatch.setattr(interpretable, "full_precision", lambda device: nullcontext(asked.append(device)))
    table, excluded = vocabulary
    nearest_words(table, torch.tensor([3]), 3, excluded)
    assert asked == [table.device]


def test_nearest_words_of_nothing_is_nothing(vocabulary: tuple[Tensor, Tensor]) -> None:
    table, excluded = vocabulary
    assert nearest_words(table, torch.zeros(0, dtype=torch.int64), 3, excluded).shape == (0, 3)


def test_nearest_words_refuses_more_neighbours_than_there_are(vocabulary: tuple[Tensor, Tensor]) -> None:
    table, excluded = vocabulary  # 42 words are not excluded
    with pytest.raises(ValueError, match=r"42 neighbours .* 42 words"):
        nearest_words(table, torch.tensor([1]), 42, excluded)


def test_autocast_does_not_round_the_similarities(vocabulary: tuple[Tensor, Tensor]) -> None:
    table, excluded = vocabulary
    tokens = torch.arange(50)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = nearest_words(table.float(), tokens, 10, excluded)
    assert torch.equal(rounded, nearest_words(table.float(), tokens, 10, excluded))


def test_word_directions_point_to_the_neighbours_with_unit_length(embeddings: Tensor) -> None:
    neighbours = _normal(3, 6, 4, 3).requires_grad_()
    directions = word_directions(embeddings.requires_grad_(), neighbours)
    distances = (neighbours - embeddings[:, :, None]).norm(dim=3)
    assert not directions.requires_grad
    assert torch.allclose(directions.norm(dim=3), torch.ones(3, 6, 4, dtype=torch.float64), rtol=1e-14)
    assert torch.allclose(embeddings[:, :, None] + distances[..., None] * directions, neighbours, rtol=0, atol=1e-14)


def test_the_direction_to_a_neighbour_that_equals_the_word_is_zero(embeddings: Tensor) -> None:
    neighbours = _normal(3, 6, 4, 3)
    neighbours[1, 2, 3] = embeddings[1, 2]
    directions = word_directions(embeddings, neighbours)
    assert (directions[1, 2, 3] == 0).all()
    assert (directions.norm(dim=3) > 0.5).sum() == 3 * 6 * 4 - 1


def test_weights_follow_the_gradient_through_alpha(
    make_classifier: Callable[..., nn.Module], embeddings: Tensor, directions: Tensor, mask: Tensor
) -> None:
    classifier = make_classifier(2)
    alpha = torch.zeros(3, 6, 4, dtype=torch.float64, requires_grad=True)
    r = (alpha[..., None] * directions).sum(2)
    (slopes,) = torch.autograd.grad(cross_entropy(classifier(embeddings + r), LABELS).sum(), alpha)
    slopes = slopes * mask[..., None]

    embeddings.requires_grad_()
    loss = cross_entropy(classifier(embeddings), LABELS)
    (gradient,) = torch.autograd.grad(loss.sum(), embeddings)
    r, weights = interpretable_perturbation(gradient, directions, mask, 0.1)
    assert torch.allclose(weights, 0.1 * slopes / l2_norm(slopes)[:, None, None], rtol=1e-10, atol=1e-14)
    assert torch.allclose(r, (weights[..., None] * directions).sum(2), rtol=1e-10, atol=1e-14)
    assert torch.allclose(l2_norm(weights), torch.full((3,), 0.1, dtype=torch.float64), rtol=1e-14)
    assert (r[~mask] == 0).all()
    assert (weights[~mask] == 0).all()
    assert (cross_entropy(classifier(embeddings + r), LABELS) > loss).all()


def test_no_other_weights_of_that_norm_raise_a_linear_loss_more(
    embeddings: Tensor, directions: Tensor, mask: Tensor
) -> None:
    gradient = embeddings
    r, _ = interpretable_perturbation(gradient, directions, mask, 5.0)
    gain = (gradient * r).sum((1, 2))
    slopes = (directions * gradient[:, :, None]).sum(3) * mask[..., None]
    assert torch.allclose(gain, 5 * l2_norm(slopes), rtol=1e-12)  # the bound of Cauchy-Schwarz


def test_the_loss_of_one_word_in_one_direction_puts_all_weight_there() -> None:
    directions = torch.eye(3).expand(1, 2, 3, 3)
    gradient = torch.tensor([[[0.0, -2.0, 0.0], [0.0, 0.0, 0.0]]])
    r, weights = interpretable_perturbation(gradient, directions, torch.ones(1, 2, dtype=torch.bool), 5.0)
    assert weights.tolist() == [[[0.0, -5.0, 0.0], [0.0, 0.0, 0.0]]]
    assert r.tolist() == weights.tolist()


def test_directions_alike_add_up_to_no_more_than_the_root_of_their_number() -> None:
    directions = torch.tensor([1.0, 0.0, 0.0]).expand(1, 1, 9, 3)
    r, weights = interpretable_perturbation(torch.ones(1, 1, 3), directions, torch.ones(1, 1, dtype=torch.bool), 5.0)
    assert l2_norm(weights).item() == pytest.approx(5, rel=1e-6)
    assert l2_norm(r).item() == pytest.approx(15, rel=1e-6)


def test_what_stands_at_masked_positions_does_not_matter(embeddings: Tensor, directions: Tensor, mask: Tensor) -> None:
    expected = interpretable_perturbation(embeddings, directions, mask, 5.0)
    polluted = interpretable_perturbation(
        embeddings.masked_fill(~mask[..., None], math.nan),
        directions.masked_fill(~mask[..., None, None], math.nan),
        mask,
        5.0,
    )
    for one, other in zip(polluted, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-20, 1.0, 1e30])
def test_gradients_of_any_size_are_safe(scale: float, embeddings: Tensor, directions: Tensor, mask: Tensor) -> None:
    gradient = scale * embeddings.float()
    r, weights = interpretable_perturbation(gradient, directions.float(), mask, 5.0)
    expected = interpretable_perturbation(embeddings.float(), directions.float(), mask, 5.0)
    assert torch.allclose(r, expected[0] * (scale > 0), rtol=1e-4, atol=1e-5)
    assert torch.allclose(weights, expected[1] * (scale > 0), rtol=1e-4, atol=1e-5)


def test_a_gradient_across_all_directions_gives_a_zero_perturbation() -> None:
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]).expand(1, 1, 3, 3)
    gradient = torch.tensor([[[0.0, 0.0, 2.0]]])
    r, weights = interpretable_perturbation(gradient, directions, torch.ones(1, 1, dtype=torch.bool), 5.0)
    assert (r == 0).all()
    assert (weights == 0).all()


def test_no_gradient_flows_through_the_perturbation(embeddings: Tensor, directions: Tensor, mask: Tensor) -> None:
    r, weights = interpretable_perturbation(embeddings.requires_grad_(), directions.requires_grad_(), mask, 5.0)
    assert not r.requires_grad
    assert not weights.requires_grad


def test_half_precision_is_promoted_and_autocast_does_not_round(
    embeddings: Tensor, directions: Tensor, mask: Tensor
) -> None:
    gradient, directions = embeddings.bfloat16(), directions.bfloat16()
    expected = interpretable_perturbation(gradient.float(), directions.float(), mask, 5.0)
    with torch.autocast("cpu", torch.bfloat16):
        promoted = interpretable_perturbation(gradient, directions, mask, 5.0)
    for one, other in zip(promoted, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
