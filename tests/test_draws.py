"""A row's random numbers are the same, however many processes share the batch and however wide a part of it is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textadv.adversarial.norms import random_noise, random_signs
from textadv.draws import Generator, RowGenerator, multinomial, new_seed, normal, uniform
from textadv.models.embedding import time_shared_dropout

ROWS, WIDTH, SIZE, SEED = 7, 5, 3, 2**64 - 1

DRAWS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "normal": normal,
    "uniform": uniform,
    "normal by row": lambda x, generator: normal(x[:, 0], generator),
    "uniform by row": lambda x, generator: uniform(x[:, 0], generator),
    "dropout": lambda x, generator: time_shared_dropout(torch.ones_like(x), 0.5, generator),
    "signs": random_signs,
    "noise": lambda x, generator: random_noise(x, torch.ones(x.shape[:2], dtype=torch.bool), 1.0, "linf", generator),
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("width", range(1, WIDTH + 1))
def test_a_rank_draws_what_one_process_draws_for_its_rows(name: str, ranks: int, width: int) -> None:
    draw, generator = DRAWS[name], seeded()
    expected = [draw(torch.zeros(ROWS, WIDTH, SIZE), generator) for _ in range(3)]
    assert all(len(numbers.unique()) > 1 for numbers in expected)
    assert not torch.equal(expected[0], expected[1])
    for rank in range(ranks):
        rows = slice(rank, None, ranks)
        mine = RowGenerator(seeded(), ROWS, WIDTH, rows)
        x = torch.zeros(len(range(ROWS)[rows]), width, SIZE)
        for numbers in expected:
            wanted = numbers[rows] if numbers.dim() == 2 else numbers[rows, :width]
            assert torch.equal(draw(x, mine), wanted)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_what_belongs_to_no_row_is_the_same_on_all_ranks(ranks: int) -> None:
    """After draws for rows, too."""
    weights, generator = torch.arange(20.0), seeded()
    normal(torch.zeros(ROWS, WIDTH, SIZE), generator)
    expected = multinomial(weights, 50, generator)
    for rank in range(ranks):
        rows = slice(rank, None, ranks)
        mine = RowGenerator(seeded(), ROWS, WIDTH, rows)
        normal(torch.zeros(len(range(ROWS)[rows]), 2, SIZE), mine)
        assert torch.equal(multinomial(weights, 50, mine), expected)


@pytest.mark.parametrize("draw", [normal, uniform])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_numbers_have_the_type_asked_for_and_its_distribution(
    draw: Callable[[Tensor, Generator], Tensor], dtype: torch.dtype
) -> None:
    numbers = draw(torch.zeros(100, 200, dtype=dtype), seeded())
    assert numbers.dtype == dtype
    mean, deviation = (0.0, 1.0) if draw is normal else (0.5, 12**-0.5)
    numbers = numbers.double()
    assert numbers.mean().item() == pytest.approx(mean, abs=0.03)
    assert numbers.std().item() == pytest.approx(deviation, rel=0.03)
    assert draw is normal or (numbers.min() >= 0 and numbers.max() < 1)


def test_numbers_do_not_depend_on_how_a_tensor_lies_in_memory() -> None:
    x = torch.zeros(SIZE, WIDTH, ROWS)
    assert torch.equal(normal(x.permute(2, 1, 0), seeded()), normal(torch.zeros(ROWS, WIDTH, SIZE), seeded()))


def test_without_a_generator_the_global_one_is_used() -> None:
    torch.manual_seed(SEED)
    numbers = normal(torch.zeros(ROWS, SIZE), None)
    assert torch.equal(numbers, normal(torch.zeros(ROWS, SIZE), seeded()))


def test_the_rows_of_each_process_have_a_seed_of_their_own() -> None:
    seeds = [new_seed(RowGenerator(seeded(), ROWS, WIDTH, slice(start, None, 2))) for start in (0, 1)]
    assert seeds == [SEED, 0]  # 2**64 comes after it
    assert new_seed(seeded()) == SEED
