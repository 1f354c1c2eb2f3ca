import io
import re
from itertools import combinations
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import NDArray

from textadv.evaluation.metrics import CalibrationBin
from textadv.evaluation.report import page
from textadv.evaluation.report.charts import Chart, Confusion, Histogram, LineChart, Reliability, Series
from textadv.evaluation.report.figures import COLOURS, DARK, DASHES, LIGHT, MARKERS, WIDTH, _look, _patterns, render

ODD = ["_hidden $x^2$ \u4e2d", "a name that is much too long for the legend of a small figure"]
BINS = [CalibrationBin(lower=0.6, upper=0.7, count=3, confidence=0.65, accuracy=0.5)]
CHARTS: list[Chart] = [
    LineChart(
        "sizes",
        "Sizes",
        "alt",
        "epsilon",
        "accuracy",
        [Series(name, kind, [0, 1, 10], [1, 0.5, 0], [], []) for name in ODD for kind in ("fgsm", "noise")],
        True,
        True,
    ),
    LineChart("spread", "Spread", "alt", "x", "y", [Series("only", "", [0, 1, 2], [1, 2, 3], [0, 1, 2], [2, 3, 4])]),
    LineChart("log", "Log", "alt", "x", "y", [Series("only", "", [20, 1000], [1, 2], [0, 1], [2, 3])], log=True),
    LineChart("point", "Point", "alt", "x", "y", [Series(ODD[0], "", [5.0], [1.0], [], [])]),
    Histogram("histogram", "Histogram", "alt", "x", [0.1, 1.0, 10.0], {ODD[0]: [3, 0], ODD[1]: [1, 2]}),
    Reliability("reliability", "Reliability", "alt", {ODD[0]: BINS, ODD[1]: BINS}),
    Confusion("confusion", "Confusion", "alt", ODD, [[3, 1], [0, 0]]),
    Confusion("many", "Many", "alt", [str(i) for i in range(30)], np.eye(30, dtype=int).tolist()),
]


def pixels(picture: bytes) -> NDArray[np.float64]:
    image: NDArray[np.float64] = matplotlib.image.imread(io.BytesIO(picture), format="png")[:, :, :3]
    return image


def contrast(one: str, other: str) -> float:
    """As the web's accessibility guidelines (WCAG 2) define it."""

    def luminance(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_chart_is_drawn_on_a_page_of_either_colour(chart: Chart) -> None:
    pictures = {theme["back"]: pixels(render(chart, dark)) for dark, theme in ((False, LIGHT), (True, DARK))}
    for back, picture in pictures.items():
        np.testing.assert_allclose(picture[0, 0], to_rgb(back), atol=1 / 255)
        assert 100 * WIDTH <= picture.shape[1] <= 200 * WIDTH
        assert (np.abs(picture - to_rgb(back)).max(axis=2) > 0.3).mean() > 0.005  # something is drawn
    assert len({picture.shape for picture in pictures.values()}) == 1


def test_what_is_drawn_depends_on_the_numbers() -> None:
    def line(y: float) -> bytes:
        return render(LineChart("n", "t", "a", "x", "y", [Series("s", "", [0, 1], [0, y], [], [])], percent=True))

    assert line(0.5) == line(0.5)
    assert line(0.5) != line(0.75)


def test_lines_differ_in_more_than_their_colour() -> None:
    for theme in (LIGHT, DARK):
        looks = [_look(group, 0, theme) for group in range(6)]
        assert all(a["color"] != b["color"] and a["marker"] != b["marker"] for a, b in combinations(looks, 2))
    assert len(set(MARKERS)) == len(MARKERS)
    kinds = ["noise", "fgsm", "rfgsm", "ifgsm", "pgd", "fgsm-least_likely", "pgd-least_likely"]
    patterns = _patterns(kinds * 2)
    assert list(patterns) == kinds
    assert len({str(pattern) for pattern in patterns.values()}) == len(kinds)
    assert patterns["fgsm"] == "-"
    assert patterns["noise"] == _patterns(["gradient", "random"])["random"]
    assert len({str(pattern) for pattern in DASHES}) == len(DASHES)


def test_shaded_words_can_be_read() -> None:
    style = Path(page.__file__).with_name("report.css").read_text(encoding="utf-8")
    values = re.findall(r"--(back|ink|card|mark|cell): ([^;]+);", style)
    assert len(values) == 10
    for theme in (dict(values[:5]), dict(values[5:])):
        for kind, name in (("p", "mark"), ("c", "cell")):
            for alpha in re.findall(rf"\.{kind}\d {{ background: rgb\(var\(--{name}\) / ([.\d]+)\)", style):
                tint = np.array([int(part) for part in theme[name].split()]) / 255
                blend = float(alpha) * tint + (1 - float(alpha)) * np.array(to_rgb(theme["card"]))
                assert contrast(theme["ink"], to_hex(blend.tolist())) > 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out_from_the_page(theme: dict[str, str]) -> None:
    assert contrast(theme["ink"], theme["back"]) > 7
    assert min(contrast(colour, theme["back"]) for colour in COLOURS[theme["back"]]) > 3
