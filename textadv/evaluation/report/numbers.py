"""The numbers of a figure as a table."""

from collections.abc import Sequence

from textadv.evaluation.report.charts import Chart, Histogram, LineChart, Reliability
from textadv.evaluation.report.findings import percent
from textadv.evaluation.report.page import Table

MOST_ROWS = 50  # the JSON file has them all


def number_table(chart: Chart) -> Table:
    """What a figure is drawn from, to be read.

    Args:
        chart: Lines, counts or calibration bins.

    Returns:
        The table.
    """
    if isinstance(chart, LineChart):
        return _of_lines(chart)
    if isinstance(chart, Histogram):
        bins = zip(chart.edges[:-1], chart.edges[1:], *chart.counts.values(), strict=True)
        rows = [(f"{low:.3g} to {high:.3g}", *map(str, counts)) for low, high, *counts in bins]
        return Table(chart.title, [chart.x_label, *chart.counts], rows)
    if isinstance(chart, Reliability):
        columns = ["", "bin", "confidence", "right", "documents"]
        rows = [
            (
                name,
                f"{percent(bin.lower)} to {percent(bin.upper)}",
                percent(bin.confidence),
                percent(bin.accuracy),
                f"{bin.count:,}",
            )
            for name, bins in chart.bins.items()
            for bin in bins
        ]
        return Table(chart.title, columns, rows)
    raise TypeError(f"no table for a {type(chart).__name__}")


def _of_lines(chart: LineChart) -> Table:
    """A row for each x, a column for each line."""
    lines = [dict(zip(series.x, series.y, strict=True)) for series in chart.series]
    xs = sorted({x for line in lines for x in line})
    every = -(-len(xs) // MOST_ROWS)
    title = chart.title if every == 1 else f"{chart.title} (one row of {every})"
    names = [f"{series.group} {series.style}".strip() for series in chart.series]
    rows = [(f"{x:g}", *(_cell(line.get(x), chart.percent) for line in lines)) for x in _thinned(xs, every)]
    return Table(title, [chart.x_label, *names], rows)


def _thinned(xs: Sequence[float], every: int) -> list[float]:
    """Some of them, the last one always."""
    kept = list(xs[::every])
    return kept if not xs or kept[-1] == xs[-1] else [*kept, xs[-1]]


def _cell(value: float | None, share: bool) -> str:
    if value is None:
        return ""
    return percent(value) if share else f"{value:.4g}"
