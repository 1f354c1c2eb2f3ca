"""Figures over seeds: means, standard deviations, paired differences and their bootstrap intervals."""

import json
from collections.abc import Iterable, Sequence

import numpy as np

from textadv.experiments.results import Row

RESAMPLES = 10_000
LEVEL = 0.95


def budgets(rows: Iterable[Row]) -> list[str]:
    """The label budgets, in the order of the rows."""
    return list(dict.fromkeys(json.dumps(row["budget"]) for row in rows))


def cell(rows: Iterable[Row], setting: str, budget: str) -> list[Row]:
    """The runs of a setting with a label budget, one per seed."""
    return [row for row in rows if row["setting"] == setting and json.dumps(row["budget"]) == budget]


def figures(rows: Iterable[Row], split: str, name: str = "error") -> list[float]:
    """A figure of each run on a split; none unless all of the runs were measured on it."""
    measured = [row[split] for row in rows]
    return [one[name] for one in measured] if all(measured) else []


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation of a sample (n - 1), which a single value does not have."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def paired_differences(rows: Iterable[Row], baseline: Iterable[Row], split: str) -> list[float]:
    """Differences of the errors in points, of the pairs with the same seeds; none unless all were measured."""
    partners = {json.dumps(row["seeds"]): row for row in baseline}
    pairs = [(row, partners[key]) for row in rows if (key := json.dumps(row["seeds"])) in partners]
    ours, theirs = figures([row for row, _ in pairs], split), figures([row for _, row in pairs], split)
    return [a - b for a, b in zip(ours, theirs, strict=True)] if ours and theirs else []


def paired_interval(differences: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a mean difference (Efron 1979): pairs are drawn with replacement.

    Args:
        differences: One per pair.
        seed: Of the draws.

    Returns:
        Lower and upper end; None for fewer than two pairs.
    """
    if len(differences) < 2:
        return None
    values = np.asarray(differences, np.float64)
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
