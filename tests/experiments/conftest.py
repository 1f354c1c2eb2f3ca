from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from textadv.experiments.plan import Plan, read_plan
from textadv.experiments.results import settings_of

Row = dict[str, Any]
GRID = """
base: {data: {source: builtin}}
settings: {none: {finetuning.method: none}, vat: {finetuning.method: vat}}
baseline: none
labels: [{data.labels_per_class: 10}, {data.labels_per_class: 50}]
seeds: [{seed: 0}, {seed: 1}, {seed: 2}]
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Two settings, two label budgets, three seeds."""
    (tmp_path / "grid.yaml").write_text(GRID, encoding="utf-8")
    return read_plan(tmp_path / "grid.yaml")


@pytest.fixture
def make_rows(plan: Plan) -> Callable[..., list[Row]]:
    """Rows of all runs with the given errors, in the order of the plan."""

    def make(errors: list[float], test: list[float] | None = None) -> list[Row]:
        rows = []
        for number, run in enumerate(plan.runs):
            train = 2 * int(run.budget["data.labels_per_class"])
            others = {"macro_f1": 0.5, "calibration_error": 0.25}
            read = {"read_on": "2026-01-02", "read_by": "textadv experiment --final"}
            rows.append(
                {
                    **asdict(run),
                    "run": run.name,
                    "settings": settings_of(run),
                    "labels": {"train": train, "validation": 40, "total": train + 40},
                    "validation": {"error": errors[number], **others},
                    "test": None if test is None else {"error": test[number], **others, **read},
                    "steps": 100,
                    "seconds": 90.0 if number else None,
                    "machine": "a machine",
                    "versions": {"textadv": "1"},
                }
            )
        return rows

    return make
