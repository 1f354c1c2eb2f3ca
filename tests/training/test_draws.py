"""Random numbers of a part of a batch are those of the whole batch, whatever draws them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textadv.corpus.batching import GlobalBatch
from textadv.training.draws import SharedDraws

WHOLE = GlobalBatch(rows=5, width=7, tokens=0)
SIZE = 3

DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "randn": lambda x: torch.randn(x.shape),
    "rand": lambda x: torch.rand(x.shape, dtype=torch.float64),
    "randint": lambda x: torch.randint(0, 2, (len(x), 1, 1)),
    "randn_like": torch.randn_like,
    "rand_like": torch.rand_like,
    "randint_like": lambda x: torch.randint_like(x, 9),
    "uniform_": lambda x: torch.empty_like(x).uniform_(-1, 1),
    "normal_": lambda x: torch.empty_like(x).normal_(),
    "bernoulli_": lambda x: torch.empty_like(x).bernoulli_(0.5),
    "dropout": lambda x: F.dropout(torch.ones_like(x), 0.5),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize(("ranks", "width"), [(2, 7), (2, 4), (3, 5)])
def test_a_rank_draws_what_one_process_draws_for_its_rows(name: str, ranks: int, width: int) -> None:
    torch.manual_seed(3)
    expected = DRAWS[name](torch.ones(WHOLE.rows, WHOLE.width, SIZE))
    assert len(expected.unique()) > 1
    for rank in range(ranks):
        rows = slice(rank, None, ranks)
        torch.manual_seed(3)
        with SharedDraws(WHOLE, rows, width):
            mine = DRAWS[name](torch.ones(len(range(WHOLE.rows)[rows]), width, SIZE))
        assert torch.equal(mine, expected[rows, :width])
