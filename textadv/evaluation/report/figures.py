"""Drawing: numbers in, PNG out. Nothing else of the package imports matplotlib."""

import io
import warnings
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from textadv.evaluation.report.charts import Chart, Confusion, Histogram, LineChart, Reliability, Series

WIDTH, HEIGHT = 4.4, 3.0  # inches, without the legend; the letters stay readable when a phone shrinks it
DPI = 180
LEGEND_ROW = 0.22
LONGEST_NAME, LONGEST_CLASS = 34, 12
MOST_CELLS = 12  # classes up to which a confusion matrix has its counts written in
# Hues that the colour-blind can tell apart (Okabe and Ito 2008), darker on white and lighter on black.
LIGHT = {"back": "#ffffff", "ink": "#24292f", "faint": "#d0d7de", "map": "Blues"}
DARK = {"back": "#15191e", "ink": "#d5dbe1", "faint": "#3a424c", "map": "Blues_r"}
COLOURS = {
    LIGHT["back"]: ["#0072b2", "#c44e00", "#007a58", "#a2488f", "#8a6d00", "#4a4a4a"],
    DARK["back"]: ["#56b4e9", "#ff9e4a", "#2cc79a", "#e8a0d0", "#f0e442", "#c8c8c8"],
}
MARKERS = "osD^vP"
DASHES: list[Any] = ["-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (3, 4, 1, 4)), (0, (5, 1)), (0, (2, 4))]
OF_RANDOMNESS = ("noise", "random")  # dotted, wherever they stand
DOTS = (0, (1, 1.5))
Entry = tuple[str, dict[str, Any]]  # of a legend: name and look
HATCHES = ["", "////", "....", "\\\\\\\\", "xx", "++"]


def render(chart: Chart, dark: bool = False) -> bytes:
    """Draw a chart as PNG, for a dark page or a white one."""
    theme = DARK if dark else LIGHT
    colours = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    settings: dict[Any, Any] = {
        **dict.fromkeys(colours, theme["ink"]),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme["back"]),
        "grid.color": theme["faint"],
        "grid.linewidth": 0.6,
        "hatch.color": theme["ink"],
        "hatch.linewidth": 0.4,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 10.5,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "lines.linewidth": 1.5,
        "lines.markersize": 5,
        "text.parse_math": False,  # names may hold a $
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for it; the page has the name
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
        if isinstance(chart, LineChart):
            _draw_lines(figure, chart, theme)
        elif isinstance(chart, Histogram):
            _draw_histogram(figure, chart, theme)
        elif isinstance(chart, Reliability):
            _draw_reliability(figure, chart, theme)
        elif isinstance(chart, Confusion):
            _draw_confusion(figure, chart, theme)
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
    return picture.getvalue()


def _draw_lines(figure: Figure, chart: LineChart, theme: dict[str, str]) -> None:
    axes = figure.add_subplot()
    groups = list(dict.fromkeys(series.group for series in chart.series))
    patterns = _patterns(series.style for series in chart.series)
    for series in chart.series:
        group = groups.index(series.group)
        look = _look(group, group, theme) | ({"linestyle": patterns[series.style]} if len(patterns) > 1 else {})
        # Many points need no marker each, and none has one at 0: there the start is marked once for all lines.
        every = max(1, len(series.x) // 10)
        axes.plot(series.x, series.y, markevery=(1 if chart.sizes else 0, every), **look)
        if series.low:
            axes.fill_between(series.x, series.low, series.high, color=look["color"], alpha=0.13, linewidth=0)
        if chart.sizes:
            axes.plot(
                series.x[:1], series.y[:1], **look | {"markersize": 9, "markerfacecolor": theme["back"]}, clip_on=False
            )
    _label(axes, chart.x_label, chart.y_label)
    if chart.sizes:
        _size_axis(axes, chart.series)
    if chart.log:
        axes.set_xscale("log")
        _ticks_at(axes, sorted({x for series in chart.series for x in series.x}))
    if chart.percent:
        axes.set_ylim(-0.02, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    plain = {"color": theme["ink"], "marker": ""}
    _legend(
        figure,
        [(name, _look(i, i if len(patterns) == 1 else 0, theme)) for i, name in enumerate(groups)],
        [(name, plain | {"linestyle": pattern}) for name, pattern in patterns.items() if len(patterns) > 1],
    )


def _size_axis(axes: Axes, series: Iterable[Series]) -> None:
    """From 0 to the smallest size in one step, then logarithmic, a tick at each size."""
    sizes = sorted({x for line in series for x in line.x})
    positive = [x for x in sizes if x > 0]
    if positive:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.7)
    _ticks_at(axes, sizes)


def _ticks_at(axes: Axes, values: Sequence[float]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))


def _draw_histogram(figure: Figure, chart: Histogram, theme: dict[str, str]) -> None:
    axes = figure.add_subplot()
    for i, counts in enumerate(chart.counts.values()):
        look = _look(i, i, theme)
        axes.stairs(
            counts,
            chart.edges,
            fill=True,
            facecolor=matplotlib.colors.to_rgba(look["color"], 0.3),
            edgecolor=look["color"],
            hatch=HATCHES[i % len(HATCHES)],
            linestyle=look["linestyle"],
            linewidth=1.2,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, chart.x_label, "documents")
    _legend(figure, [(name, _look(i, i, theme) | {"marker": ""}) for i, name in enumerate(chart.counts)])


def _draw_reliability(figure: Figure, chart: Reliability, theme: dict[str, str]) -> None:
    figure.set_figheight(HEIGHT + 0.6)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[2.6, 1])
    upper.plot([0, 1], [0, 1], color=theme["ink"], linewidth=0.8, linestyle=(0, (1, 2)))
    edges = [edge for bins in chart.bins.values() for bin in bins for edge in (bin.lower, bin.upper)]
    for i, bins in enumerate(chart.bins.values()):
        look = _look(i, i, theme)
        upper.plot([bin.confidence for bin in bins], [bin.accuracy for bin in bins], **look)
        width = (bins[0].upper - bins[0].lower) * 0.8 / len(chart.bins) if bins else 0.0
        left = [bin.lower + 0.1 * (bin.upper - bin.lower) + i * width for bin in bins]
        hatch = HATCHES[i % len(HATCHES)]
        lower.bar(left, [bin.count for bin in bins], width, align="edge", color=look["color"], hatch=hatch)
    upper.set_ylim(-0.03, 1.03)
    upper.set_xlim(min(edges, default=0.0), 1.01)
    for axis in (upper.xaxis, upper.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=" %", decimals=0))
    lower.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    _label(upper, "", "right")
    _label(lower, "confidence", "documents")
    perfect = {"color": theme["ink"], "linestyle": (0, (1, 2)), "linewidth": 0.8}
    _legend(figure, [(name, _look(i, i, theme)) for i, name in enumerate(chart.bins)], [("perfect", perfect)])


def _draw_confusion(figure: Figure, chart: Confusion, theme: dict[str, str]) -> None:
    axes = figure.add_subplot()
    counts = np.array(chart.counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap=theme["map"], vmin=0, vmax=1, aspect="auto")
    few = len(chart.classes) <= MOST_CELLS
    if few:
        for row, column in product(range(len(counts)), repeat=2):
            # Either map is pale at one end and strong at the other, the page's colour at 0.
            ink = theme["back"] if shares[row, column] > 0.5 else theme["ink"]
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink)
    ticks = range(len(chart.classes)) if few else []
    names = [_short(name, LONGEST_CLASS) for name in chart.classes] if few else []
    axes.set_xticks(ticks, names, rotation=0 if len(names) < 4 else 45)
    axes.set_yticks(ticks, names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _patterns(styles: Iterable[str]) -> dict[str, Any]:
    """The pattern of each style's lines, the first one solid."""
    found: dict[str, Any] = {}
    for style in styles:
        if style in OF_RANDOMNESS:
            found[style] = DOTS
        elif style not in found:
            found[style] = DASHES[sum(pattern != DOTS for pattern in found.values()) % len(DASHES)]
    return found


def _look(group: int, style: int, theme: dict[str, str]) -> dict[str, Any]:
    palette = COLOURS[theme["back"]]
    return {
        "color": palette[group % len(palette)],
        "marker": MARKERS[group % len(MARKERS)],
        "linestyle": DASHES[style % len(DASHES)],
    }


def _label(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(True)
    axes.set_axisbelow(True)


def _legend(figure: Figure, first: list[Entry], second: Sequence[Entry] = ()) -> None:
    """Below the axes: two columns where the names are short, one after the other where they are not."""
    entries = [*first, *second]
    columns = 2 if max(len(name) for name, _ in entries) <= LONGEST_NAME // 2 else 1
    if second and columns == 2:
        height = max(len(first), len(second))
        entries = [*_padded(first, height), *_padded(second, height)]
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * -(-len(entries) // columns))
    lines = [Line2D([], [], **look) for _, look in entries]
    names = [_short(name) for name, _ in entries]
    figure.legend(lines, names, loc="outside lower center", ncols=columns, handlelength=3.2)


def _padded(column: Sequence[Entry], height: int) -> list[Entry]:
    return [*column, *[("", {"linestyle": ""})] * (height - len(column))]


def _short(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that fits; never one with which matplotlib would leave the line out of the legend."""
    name = name if len(name) <= longest else f"{name[: longest - 1]}…"
    return f" {name}" if name.startswith("_") else name
