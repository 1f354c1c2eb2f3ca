from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from textadv.evaluation.report import findings
from textadv.evaluation.report.charts import Chart, Histogram, LineChart
from textadv.evaluation.report.measure import Smoothness
from textadv.evaluation.report.subjects import Subject

MAKERS = [
    findings.reliability_charts,
    findings.confusion_charts,
    findings.accuracy_charts,
    findings.direction_charts,
    findings.smoothness_charts,
    findings.training_charts,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_nothing_measured_makes_no_figure(make: Callable[[Sequence[Subject]], list[Chart]], subjects: list[Subject]):
    assert make([Subject("bare", "x", subjects[0].card)]) == []


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_figure_names_every_checkpoint_in_words(
    make: Callable[[Sequence[Subject]], list[Chart]], subjects: list[Subject]
) -> None:
    charts = make(subjects)
    said = " ".join(chart.title + chart.alt for chart in charts)
    assert all(subject.name in said for subject in subjects)
    assert all(chart.alt for chart in charts)
    assert len({chart.name for chart in charts}) == len(charts)


def test_accuracy_starts_at_the_clean_one(subjects: list[Subject]) -> None:
    l2, linf = findings.accuracy_charts(subjects)
    assert isinstance(l2, LineChart)
    assert [(series.group, series.style) for series in l2.series] == [
        (subject.name, style) for subject in subjects for style in ("noise", "fgsm")
    ]
    assert l2.series[1].x == [0.0, 1.0, 5.0]
    assert l2.series[1].y == [0.875, 0.5, 0.125]
    assert "first: 87.5 % unperturbed" in l2.alt
    assert "fgsm-l2 50.0 % at 1 and 12.5 % at 5" in l2.alt
    assert isinstance(linf, LineChart)
    assert len(linf.series) == 2


def test_a_norm_that_no_attack_has_gets_no_figure(subjects: list[Subject]) -> None:
    robustness = subjects[0].robustness
    assert robustness is not None
    only = replace(robustness, attacks=robustness.attacks[:1])
    (chart,) = findings.accuracy_charts([replace(subjects[0], robustness=only)])
    assert chart.name == "accuracy_l2"


def test_directions_say_how_straight_they_are(subjects: list[Subject]) -> None:
    loss, margin = findings.direction_charts(subjects)
    assert "mean loss 0.25 at 0, 3.50 at 5 along the gradient and 0.38 along random directions" in loss.alt
    assert "a straight line explains 98.5 %" in margin.alt
    assert isinstance(loss, LineChart)
    assert loss.series[0].low == [-0.75, 2.5]


@pytest.mark.parametrize("values", [[0.0, 0.125, 0.5, 2.0], [0.3, 0.3], [0.0], [1e-9, 7.0], [0.1] * 7 + [0.7]])
def test_a_histogram_counts_every_document_once(subjects: list[Subject], values: list[float]) -> None:
    subject = replace(subjects[0], smoothness=[Smoothness(0.5, values)])
    (chart,) = findings.smoothness_charts([subject])
    assert isinstance(chart, Histogram)
    assert {name: sum(counts) for name, counts in chart.counts.items()} == {"first, epsilon 0.5": len(values)}
    assert all(b > a for a, b in pairwise(chart.edges))


def test_smoothness_is_compared_at_one_size(subjects: list[Subject]) -> None:
    first, second = subjects
    assert [chart.name for chart in findings.smoothness_charts(subjects)] == ["smoothness"]
    tuning = {"method": "vat", "epsilon": 2.0, "adversary": "fgsm-l2"}
    second.card = second.card | {"settings": {"finetuning": tuning}}
    second.smoothness = [Smoothness(0.5, [0.1]), Smoothness(2.0, [0.2, 0.3])]
    own, same = findings.smoothness_charts(subjects)
    assert isinstance(own, Histogram)
    assert isinstance(same, Histogram)
    assert {name: sum(counts) for name, counts in own.counts.items()} == {
        f"{first.name}, epsilon 0.5": 4,
        f"{second.name}, epsilon 2": 2,
    }
    assert {name: sum(counts) for name, counts in same.counts.items()} == {
        f"{first.name}, epsilon 0.5": 4,
        f"{second.name}, epsilon 0.5": 1,
    }


def test_reliability_and_confusion_tell_the_metrics(subjects: list[Subject]) -> None:
    (reliability,) = findings.reliability_charts(subjects)
    quality = subjects[0].quality
    assert quality is not None
    assert f"calibration error {100 * quality.expected_calibration_error:.1f} %" in reliability.alt
    assert "right 60.0 % of the time at a mean confidence of 72.0 %" in reliability.alt
    assert "of 2 R&D, 1 are predicted as such" in findings.confusion_charts(subjects)[0].alt


def test_training_curves_of_each_run(subjects: list[Subject]) -> None:
    charts = findings.training_charts(subjects)
    assert [chart.name for chart in charts] == ["losses_1", "losses_2", "validation_error"]
    assert "loss: 0.75 at step 20, 0.5 at step 40, lowest 0.5." in charts[0].alt
