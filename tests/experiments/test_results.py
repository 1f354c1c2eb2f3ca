from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textadv.errors import InputError
from textadv.experiments.plan import Plan, read_plan
from textadv.experiments.results import RESULTS, planned_rows, read_rows, require_unchanged, write_rows

Rows = Callable[..., list[dict[str, Any]]]
ERRORS = [float(i) for i in range(12)]


@pytest.fixture
def rows(make_rows: Rows, plan: Plan) -> dict[str, dict[str, Any]]:
    return {
        row["run"]: {key: value for key, value in row.items() if key not in ("experiment", "shared")}
        for row in make_rows(ERRORS)
    }


def test_rows_are_read_as_they_were_written(rows: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    assert read_rows(tmp_path) == {}
    write_rows(tmp_path, rows)
    assert read_rows(tmp_path) == rows
    assert len((tmp_path / RESULTS).read_text(encoding="utf-8").splitlines()) == 12


def test_rows_that_somebody_has_changed_are_refused(rows: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    write_rows(tmp_path, rows)
    path = tmp_path / RESULTS
    path.write_text(path.read_text(encoding="utf-8").replace("5.0", "4.0"), encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("{data: {source: builtin}}", "{data: {source: builtin}, finetuning: {steps: 3}}", "finetuning.steps"),
        ("method: vat", "method: adversarial", "finetuning.method"),
        ("{data: {source: builtin}}", "{data: {source: builtin}, pretrained: lm}", "pretrained"),
        ("{data: {source: builtin}}", "{data: {source: builtin}, seed: 4}", "shared.seed"),
        ("{data: {source: builtin}}", "{data: {source: builtin, seed: 4}}", "data.seed"),
    ],
)
def test_a_change_of_a_finished_run_is_noticed(
    rows: dict[str, dict[str, Any]], plan: Plan, tmp_path: Path, old: str, new: str, key: str
) -> None:
    require_unchanged(plan, rows, tmp_path)
    content = plan.file.read_text(encoding="utf-8")
    assert old in content
    plan.file.write_text(content.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        require_unchanged(read_plan(plan.file), rows, tmp_path)
    line = str(refused.value)
    assert line.startswith(f"{plan.file}: {key} ")
    assert "choose another --output" in line
    require_unchanged(read_plan(plan.file), {}, tmp_path)  # nothing is finished


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seeds: [", "seeds: [{seed: 9}, "),
        ("{seed: 1}, ", ""),
        ("settings: {", "settings: {random: {finetuning.method: random}, "),
        ("source: builtin", "source: builtin, cache: elsewhere"),
    ],
)
def test_more_or_fewer_runs_are_no_change(
    rows: dict[str, dict[str, Any]], plan: Plan, tmp_path: Path, old: str, new: str
) -> None:
    plan.file.write_text(plan.file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    other = read_plan(plan.file)
    require_unchanged(other, rows, tmp_path)
    assert [row["run"] for row in planned_rows(other, rows)] == [run.name for run in other.runs if run.name in rows]
