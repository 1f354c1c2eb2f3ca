"""`table.md` and the figures of an experiment."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from textadv.evaluation.report.charts import LineChart, Series
from textadv.evaluation.report.figures import render
from textadv.experiments.plan import Plan
from textadv.experiments.results import Row
from textadv.experiments.statistics import (
    LEVEL,
    RESAMPLES,
    budgets,
    cell,
    figures,
    mean_and_deviation,
    paired_differences,
    paired_interval,
)
from textadv.system.durable import replace_text, writing

NONE = "-"
DIFFERENCES = (
    "Differences of errors in points, of runs with the same seeds and labels. Below 0 the setting is better. The "
    f"interval is a percentile bootstrap interval of {100 * LEVEL:.0f} % over the pairs ({RESAMPLES:,} resamples, "
    "seed 0). With fewer than ten pairs such an interval is too narrow."
)
LABELS = (
    "`labels in total` counts every label that training or the selection of a checkpoint has seen (Oliver et al. 2018)."
)


def write_table(plan: Plan, rows: Sequence[Row], failed: dict[str, str], folder: Path) -> str:
    """Write `table.md` and, where there is more than one label budget, a figure for each split that was read.

    Args:
        plan: What is compared.
        rows: What is finished of it.
        failed: Why other runs failed, by name.
        folder: Of the experiment.

    Returns:
        The text of the table.
    """
    splits = ["validation", *(["test"] if any(row["test"] for row in rows) else [])]
    text = "\n\n".join(_paragraphs(plan, rows, failed, splits)) + "\n"
    with writing(folder / "table.md"):
        replace_text(folder / "table.md", text)
        for split in splits:
            chart = error_chart(plan, rows, split)
            if chart is not None:
                (folder / f"{chart.name}.png").write_bytes(render(chart))
    return text


def error_chart(plan: Plan, rows: Sequence[Row], split: str) -> LineChart | None:
    """Error against the number of labels, mean and standard deviation; None for fewer than two numbers of labels."""
    inside = all(row["settings"]["data"].get("validation_labels") is not None for row in rows)
    series = []
    for setting in plan.settings:
        points = []
        for budget in budgets(rows):
            found = cell(rows, setting, budget)
            if errors := figures(found, split):
                mean, deviation = mean_and_deviation(errors)
                spread = deviation or 0.0
                points.append(
                    (float(found[0]["labels"]["total" if inside else "train"]), mean, mean - spread, mean + spread)
                )
        if points:
            series.append(Series(setting, "", *(list(values) for values in zip(*sorted(points), strict=True))))
    if len({x for line in series for x in line.x}) < 2:
        return None
    x_label = "labels, those for selection included" if inside else "labels trained on"
    name = f"{split}_error"
    return LineChart(name, name.replace("_", " "), "", x_label, f"{split} error in %", series, log=True)


def _paragraphs(plan: Plan, rows: Sequence[Row], failed: dict[str, str], splits: Sequence[str]) -> Iterable[str]:
    yield f"# {plan.file.stem}"
    done = f"{len(rows)} of {len(plan.runs)} runs of `{plan.file.name}` are finished."
    yield f"{done} Errors are in percent: mean ± standard deviation over n seeds."
    yield _means(plan, rows, splits)
    if plan.baseline is not None and len(plan.settings) > 1:
        yield f"## Differences from `{plan.baseline}`"
        yield DIFFERENCES
        yield _comparisons(plan, rows, splits, plan.baseline)
    yield "## What was read"
    yield f"{LABELS} {_test_note(rows)}"
    for machine, versions in dict.fromkeys((row["machine"], json.dumps(row["versions"])) for row in rows):
        yield f"Machine: {machine}; {', '.join(f'{name} {value}' for name, value in json.loads(versions).items())}."
    if failed:
        yield "## Failed runs"
        yield "\n".join(f"- `{name}`: {reason}" for name, reason in failed.items())


def _means(plan: Plan, rows: Sequence[Row], splits: Sequence[str]) -> str:
    columns = ["setting", "labels trained on", "labels for selection", "labels in total", "n"]
    columns += [f"{split} {name}" for split in splits for name in ("error", "macro-F1", "calibration error")]
    lines = []
    for budget in budgets(rows):
        for setting in plan.settings:
            found = cell(rows, setting, budget)
            if not found:
                continue
            labels = [f"{found[0]['labels'][part]:,}" for part in ("train", "validation", "total")]
            measured = [
                _plus_minus(figures(found, split, name), digits)
                for split in splits
                for name, digits in (("error", 2), ("macro_f1", 3), ("calibration_error", 3))
            ]
            seconds = [row["seconds"] for row in found if row["seconds"] is not None]
            minutes = f"{np.mean(seconds) / 60:.2f}" if seconds else NONE
            steps = f"{np.mean([row['steps'] for row in found]):,.0f}"
            lines.append([setting, *labels, str(len(found)), *measured, steps, minutes])
    return _markdown([*columns, "steps", "minutes"], lines)


def _comparisons(plan: Plan, rows: Sequence[Row], splits: Sequence[str], baseline: str) -> str:
    columns = ["setting", "labels trained on", "pairs"]
    columns += [f"{split} {what}" for split in splits for what in ("difference", "interval")]
    lines = []
    for budget in budgets(rows):
        for setting in plan.settings:
            ours, theirs = cell(rows, setting, budget), cell(rows, baseline, budget)
            if setting == baseline or not ours or not theirs:
                continue
            compared = [paired_differences(ours, theirs, split) for split in splits]
            line = [setting, f"{ours[0]['labels']['train']:,}", str(max(map(len, compared)))]
            for differences in compared:
                interval = paired_interval(differences)
                line.append(f"{np.mean(differences):+.2f}" if differences else NONE)
                line.append(NONE if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}")
            lines.append(line)
    return _markdown(columns, lines)


def _plus_minus(values: Sequence[float], digits: int) -> str:
    if not values:
        return NONE
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def _test_note(rows: Sequence[Row]) -> str:
    """Whether the test split was read, when, and by what."""
    read = [row["test"] for row in rows if row["test"]]
    if not read:
        return "The test split was not read."
    dates = sorted({test["read_on"] for test in read})
    by = ", ".join(f"`{command}`" for command in dict.fromkeys(test["read_by"] for test in read))
    return f"The test split was read on {' and '.join(dates)} by {by}, for {len(read)} of {len(rows)} runs."


def _markdown(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; all but the first column are numbers."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, rule, *lines))
