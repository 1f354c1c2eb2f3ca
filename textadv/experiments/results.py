"""`results.jsonl`: one row per finished run, with all settings that its figures come from."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textadv.errors import InputError
from textadv.experiments.overrides import flat
from textadv.experiments.plan import Plan, PlannedRun
from textadv.settings import Experiment
from textadv.system.durable import open_intact, write_file

RESULTS = "results.jsonl"
Row = dict[str, Any]


def read_rows(folder: Path) -> dict[str, Row]:
    """The rows of an experiment by the names of their runs, none where it has not begun.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / RESULTS
    if not path.exists():
        return {}
    with open_intact(path) as file:
        rows = [json.loads(line) for line in file.read().decode("utf-8").splitlines()]
    return {row["run"]: row for row in rows}


def write_rows(folder: Path, rows: Mapping[str, Row]) -> None:
    """Replace the file; whenever a kill comes, it holds either the old rows or the new ones.

    Raises:
        InputError: It cannot be written.
    """
    write_file(folder / RESULTS, "".join(f"{json.dumps(row)}\n" for row in rows.values()).encode("utf-8"))


def settings_of(run: PlannedRun) -> dict[str, Any]:
    """All that the figures of a run come from, for its row."""
    shared = {"seed": run.shared.seed, "data": {"seed": run.shared.data.seed}}
    return asdict(run.experiment) | {"pretrained": run.pretrained, "contender": run.contender, "shared": shared}


def require_unchanged(plan: Plan, rows: Mapping[str, Row], folder: Path) -> None:
    """See to it that finished runs have the settings that the file asks for. Where stores are kept makes no difference.

    Raises:
        InputError: One has other settings; the message names the first of them.
    """
    for run in plan.runs:
        if run.name in rows:
            # A setting that there was not yet had its default.
            before = dict(flat(asdict(Experiment()))) | dict(flat(rows[run.name]["settings"]))
            for key, value in flat(settings_of(run)):
                if key != "data.cache" and before[key] != value:
                    raise InputError(
                        f"{plan.file}: {key} is {value}, but was {before[key]} when {folder / 'runs' / run.name} was "
                        "finished: undo the change, or choose another --output"
                    )


def planned_rows(plan: Plan, rows: Mapping[str, Row]) -> list[Row]:
    """The rows of what the file asks for, in its order; others may be there from an earlier state of it."""
    return [rows[run.name] for run in plan.runs if run.name in rows]
