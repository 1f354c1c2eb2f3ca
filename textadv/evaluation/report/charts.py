"""What a figure shows, as plain numbers: drawn by `figures`, written out as JSON and a table, told by `findings`."""

from abc import ABC, abstractmethod
from dataclasses import astuple, dataclass, field

from textadv.evaluation.metrics import CalibrationBin
from textadv.evaluation.report.page import Table, percent, shade

MOST_ROWS = 50  # of a table; the JSON file has them all


@dataclass(frozen=True)
class Series:
    """A line."""

    group: str  # what gives it colour and marker
    style: str  # what gives it the pattern of its line
    x: list[float]  # where
    y: list[float]  # how much
    low: list[float] = field(default_factory=list)  # lower edge of the spread around y; empty for none
    high: list[float] = field(default_factory=list)  # upper edge


@dataclass(frozen=True)
class Chart(ABC):
    """Any figure."""

    name: str  # name of its files, without an ending
    title: str  # for people
    alt: str  # what it shows, in numbers, for those who do not see it

    @abstractmethod
    def table(self) -> Table:
        """The numbers, to be read."""


@dataclass(frozen=True)
class LineChart(Chart):
    """Lines."""

    x_label: str  # what x is
    y_label: str  # what y is
    series: list[Series]  # the lines
    sizes: bool = False  # x holds 0 and sizes of perturbations of several orders, each of them worth a tick
    percent: bool = False  # y holds shares
    log: bool = False  # x is positive and of several orders, each value worth a tick

    def table(self) -> Table:
        """A row for each x, some of them where there are many; a column for each line."""
        lines = [dict(zip(series.x, series.y, strict=True)) for series in self.series]
        xs = sorted({x for line in lines for x in line})
        every = -(-len(xs) // MOST_ROWS)
        title = self.title if every == 1 else f"{self.title} (one row of {every})"
        names = [f"{series.group} {series.style}".strip() for series in self.series]
        shown = sorted({*xs[::every], xs[-1]})
        form = percent if self.percent else "{:.4g}".format
        rows = [(f"{x:g}", *(form(line[x]) if x in line else "" for line in lines)) for x in shown]
        return Table(title, [self.x_label, *names], rows)


@dataclass(frozen=True)
class Histogram(Chart):
    """Counts of values of several groups in the same bins."""

    x_label: str  # what is counted
    edges: list[float]  # edges of the bins, one more than those, rising, on a logarithmic axis
    counts: dict[str, list[int]]  # by group

    def table(self) -> Table:
        """A row for each bin, a column for each group."""
        bins = zip(self.edges[:-1], self.edges[1:], *self.counts.values(), strict=True)
        rows = [(f"{low:.3g} to {high:.3g}", *map(str, counts)) for low, high, *counts in bins]
        return Table(self.title, [self.x_label, *self.counts], rows)


@dataclass(frozen=True)
class Reliability(Chart):
    """How often predictions of a given confidence are right: calibration bins by group."""

    bins: dict[str, list[CalibrationBin]]

    def table(self) -> Table:
        """A row for each bin of each group."""
        rows = [
            (name, f"{percent(lower)} to {percent(upper)}", percent(confidence), percent(accuracy), f"{count:,}")
            for name, bins in self.bins.items()
            for lower, upper, count, confidence, accuracy in map(astuple, bins)
        ]
        return Table(self.title, ["", "bin", "confidence", "right", "documents"], rows)


@dataclass(frozen=True)
class Confusion(Chart):
    """Which classes are taken for which: a row per true class, a column per predicted class."""

    classes: list[str]
    counts: list[list[int]]

    def table(self) -> Table:
        """The matrix, each cell shaded by its share of its row."""
        cells = [(name, *(f"{n:,}" for n in row)) for name, row in zip(self.classes, self.counts, strict=True)]
        shades = [[shade(n, sum(row)) for n in row] for row in self.counts]
        return Table(self.title, ["true \\ predicted", *self.classes], cells, shades=shades)
