from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from textadv.experiments.plan import Plan
from textadv.experiments.statistics import (
    budgets,
    cell,
    figures,
    mean_and_deviation,
    paired_differences,
    paired_interval,
)

ERRORS = [20.0, 22.0, 24.0, 10.0, 11.0, 12.0, 19.0, 20.0, 24.0, 8.0, 8.0, 8.0]


def test_mean_and_deviation_are_those_of_a_sample() -> None:
    assert mean_and_deviation([2.0, 4.0, 9.0]) == (5.0, pytest.approx(13**0.5))  # (9 + 1 + 16) / 2
    assert mean_and_deviation([3.0]) == (3.0, None)


def test_runs_are_paired_by_their_seeds(plan: Plan, make_rows: Callable[..., list[dict[str, Any]]]) -> None:
    rows = make_rows(ERRORS)
    few, many = budgets(rows)
    ours, theirs = cell(rows, "vat", few), cell(rows, "none", few)
    assert paired_differences(ours, theirs[::-1], "validation") == [-1.0, -2.0, 0.0]
    assert paired_differences(ours[1:], theirs, "validation") == [-2.0, 0.0]
    assert paired_differences(ours, theirs[:2], "validation") == [-1.0, -2.0]
    assert paired_differences(cell(rows, "vat", many), cell(rows, "none", many), "validation") == [-2.0, -3.0, -4.0]
    assert paired_differences(ours, theirs, "test") == []  # which nobody has read


def test_a_figure_counts_only_where_all_runs_have_it(make_rows: Callable[..., list[dict[str, Any]]]) -> None:
    rows = make_rows(ERRORS, ERRORS)
    assert figures(rows[:2], "test") == [20.0, 22.0]
    rows[1]["test"] = None
    assert figures(rows[:2], "test") == []


def test_the_interval_is_that_of_all_resamples() -> None:
    """Three pairs have 27 equally likely resamples: their quantiles are known."""
    differences = [-3.0, -1.0, 1.0]
    means = np.sort([np.mean(chosen) for chosen in product(differences, repeat=3)])
    interval = paired_interval(differences)
    assert interval is not None
    assert interval == pytest.approx((means[0], means[-1]))  # each has a share of 1 / 27, more than 2.5 %
    assert interval == pytest.approx((-3.0, 1.0))


def test_the_interval_of_many_pairs_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(2.0, 3.0, 400)
    low, high = paired_interval(values.tolist()) or (0.0, 0.0)
    half = 1.96 * values.std() / 400**0.5
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_the_interval_is_seeded_and_needs_two_pairs() -> None:
    differences = [0.1, 0.5, -0.7, 0.2, 0.9, 1.3]
    assert paired_interval(differences) == paired_interval(differences)
    assert paired_interval(differences) != paired_interval(differences, seed=1)
    assert paired_interval([2.0, 2.0]) == (2.0, 2.0)
    assert paired_interval([1.0]) is None
    assert paired_interval([]) is None
