"""What a figure shows, as plain numbers: drawn by `figures`, written out as JSON, put into words by `findings`."""

from dataclasses import dataclass

from textadv.evaluation.metrics import CalibrationBin


@dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        group: What gives it colour and marker.
        style: What gives it the pattern of its line.
        x: Where.
        y: How much.
        low: Lower edge of the spread around y; empty for none.
        high: Upper edge.
    """

    group: str
    style: str
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Chart:
    """Any figure.

    Attributes:
        name: Of its files, without an ending.
        title: For people.
        alt: What it shows, in numbers, for those who do not see it.
    """

    name: str
    title: str
    alt: str


@dataclass(frozen=True)
class LineChart(Chart):
    """Lines.

    Attributes:
        x_label: What x is.
        y_label: What y is.
        series: The lines.
        sizes: x holds 0 and sizes of perturbations of several orders, each of them worth a tick.
        percent: y holds shares.
        log: x is positive and of several orders, each value worth a tick.
    """

    x_label: str
    y_label: str
    series: list[Series]
    sizes: bool = False
    percent: bool = False
    log: bool = False


@dataclass(frozen=True)
class Histogram(Chart):
    """Counts of values of several groups in the same bins.

    Attributes:
        x_label: What is counted.
        edges: Of the bins, one more than those, rising, on a logarithmic axis.
        counts: By group.
    """

    x_label: str
    edges: list[float]
    counts: dict[str, list[int]]


@dataclass(frozen=True)
class Reliability(Chart):
    """How often predictions of a given confidence are right.

    Attributes:
        bins: From `metrics.calibration_bins`, by group.
    """

    bins: dict[str, list[CalibrationBin]]


@dataclass(frozen=True)
class Confusion(Chart):
    """Which classes are taken for which.

    Attributes:
        classes: Their names.
        counts: One row per true class, one column per predicted class.
    """

    classes: list[str]
    counts: list[list[int]]
