from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textadv.experiments.plan import Plan
from textadv.experiments.table import error_chart, write_table

Rows = Callable[..., list[dict[str, Any]]]
ERRORS = [20.0, 22.0, 24.0, 10.0, 11.0, 12.0, 19.0, 20.0, 24.0, 8.0, 8.0, 8.0]


def lines(text: str) -> list[list[str]]:
    """The cells of all rows of tables."""
    return [[one.strip() for one in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_figures_are_those_of_a_hand_calculation(plan: Plan, make_rows: Rows, tmp_path: Path) -> None:
    text = write_table(plan, make_rows(ERRORS), {}, tmp_path)
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text
    others = ["0.500 ± 0.000", "0.250 ± 0.000", "100", "1.50"]
    found = lines(text)
    assert found[2:6] == [
        ["none", "20", "40", "60", "3", "22.00 ± 2.00", *others],
        ["vat", "20", "40", "60", "3", "21.00 ± 2.65", *others],
        ["none", "100", "40", "140", "3", "11.00 ± 1.00", *others],
        ["vat", "100", "40", "140", "3", "8.00 ± 0.00", *others],
    ]
    assert found[8:] == [  # of three pairs, the ends are the smallest and the largest mean
        ["vat", "20", "3", "-1.00", "-2.00 to +0.00"],
        ["vat", "100", "3", "-3.00", "-4.00 to -2.00"],
    ]
    assert "The test split was not read." in text
    assert "test error" not in text
    assert "12 of 12 runs" in text


def test_what_test_was_read_for_is_written_down(plan: Plan, make_rows: Rows, tmp_path: Path) -> None:
    text = write_table(plan, make_rows(ERRORS, [error + 1 for error in ERRORS]), {"x": "diverged"}, tmp_path)
    found = lines(text)
    assert found[2][5:9] == ["22.00 ± 2.00", "0.500 ± 0.000", "0.250 ± 0.000", "23.00 ± 2.00"]
    assert found[8] == ["vat", "20", "3", "-1.00", "-2.00 to +0.00", "-1.00", "-2.00 to +0.00"]
    assert "read on 2026-01-02 by `textadv experiment --final`, for 12 of 12 runs" in text
    assert "- `x`: diverged" in text
    assert (tmp_path / "test_error.png").read_bytes().startswith(b"\x89PNG")


def test_an_unfinished_experiment_has_the_rows_that_there_are(plan: Plan, make_rows: Rows, tmp_path: Path) -> None:
    found = lines(write_table(plan, make_rows(ERRORS)[:4], {}, tmp_path))
    assert [line[:6] for line in found[2:4]] == [
        ["none", "20", "40", "60", "3", "22.00 ± 2.00"],
        ["none", "100", "40", "140", "1", "10.00"],
    ]
    assert write_table(plan, [], {}, tmp_path).startswith("# grid\n\n0 of 12 runs")


def test_the_figure_shows_means_and_deviations(plan: Plan, make_rows: Rows, tmp_path: Path) -> None:
    rows = make_rows(ERRORS)
    chart = error_chart(plan, rows, "validation")
    assert chart is not None
    none, vat = chart.series
    assert (none.group, none.x, none.y, none.low, none.high) == ("none", [20, 100], [22, 11], [20, 10], [24, 12])
    assert (vat.x, vat.y, vat.low[1], vat.high[1]) == ([20, 100], [21, 8], 8, 8)
    assert vat.high[0] == pytest.approx(21 + 7**0.5)
    assert chart.log
    assert error_chart(plan, rows, "test") is None
    assert error_chart(plan, [row for row in rows if row["labels"]["train"] == 20], "validation") is None
    write_table(plan, rows, {}, tmp_path)
    assert [file.name for file in tmp_path.glob("*.png")] == ["validation_error.png"]


def test_where_selection_takes_labels_of_the_budget_the_figure_counts_them(plan: Plan, make_rows: Rows) -> None:
    rows = make_rows(ERRORS)
    for row in rows:
        row["settings"]["data"]["validation_labels"] = 40
    chart = error_chart(plan, rows, "validation")
    assert chart is not None
    assert chart.series[0].x == [60, 140]
