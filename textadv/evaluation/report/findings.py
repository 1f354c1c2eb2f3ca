"""From the numbers of checkpoints to figures, each with its finding in words."""

from collections.abc import Sequence

import numpy as np

from textadv.evaluation.report.charts import Chart, Confusion, Histogram, LineChart, Reliability, Series
from textadv.evaluation.report.page import percent
from textadv.evaluation.report.subjects import LOSSES, Subject

HISTOGRAM_BINS = 24
SMALLEST_LDS = 1e-6  # nats; smaller ones are counted in the first bin


def reliability_charts(subjects: Sequence[Subject]) -> list[Chart]:
    """How far confidence can be trusted, all checkpoints in one figure."""
    measured = {subject.name: subject.quality for subject in subjects if subject.quality is not None}
    if not measured:
        return []
    sentences = []
    for name, quality in measured.items():
        confidence = sum(bin.count * bin.confidence for bin in quality.calibration) / quality.count
        sentences.append(
            f"{name}: right {percent(quality.accuracy)} of the time at a mean confidence of {percent(confidence)}, "
            f"expected calibration error {percent(quality.expected_calibration_error)}, "
            f"{quality.count} documents."
        )
    bins = {name: quality.calibration for name, quality in measured.items()}
    return [Reliability("reliability", "How far confidence can be trusted", " ".join(sentences), bins)]


def confusion_charts(subjects: Sequence[Subject]) -> list[Confusion]:
    """Which classes are taken for which, a figure for each checkpoint."""
    charts = []
    for number, subject in enumerate(subjects, start=1):
        if subject.quality is None:
            continue
        classes, counts = list(subject.card["classes"]), subject.quality.confusion_matrix
        rows = (
            f"of {sum(row)} {name}, {row[i]} are predicted as such"
            for i, (name, row) in enumerate(zip(classes, counts, strict=True))
        )
        title = f"Confusion matrix of {subject.name}"
        charts.append(Confusion(f"confusion_{number}", title, f"{'; '.join(rows)}.", classes, counts))
    return charts


def accuracy_charts(subjects: Sequence[Subject]) -> list[Chart]:
    """Accuracy by the size of the perturbation, a figure for each norm."""
    attacked = [(subject.name, subject.robustness) for subject in subjects if subject.robustness is not None]
    charts: list[Chart] = []
    for norm, title in (("l2", "Accuracy under attack, L2"), ("linf", "Accuracy under attack, L-infinity")):
        series, sentences = [], []
        for name, result in attacked:
            clean, rows = result.clean_accuracy, [row for row in result.attacks if row.norm == norm]
            if not rows:
                continue
            for row in rows:
                style = row.attack.replace(f"-{norm}", "")
                series.append(Series(name, style, [0.0, *row.epsilons], [clean, *row.accuracy]))
            ends = ", ".join(
                f"{row.attack} {percent(row.accuracy[0])} at {row.epsilons[0]:g} and "
                f"{percent(row.accuracy[-1])} at {row.epsilons[-1]:g}"
                for row in rows
            )
            sentences.append(f"{name}: {percent(clean)} unperturbed; {ends}.")
        if series:
            label = f"epsilon ({'L2 norm of the whole text' if norm == 'l2' else 'of each number'})"
            alt = " ".join(sentences)
            charts.append(LineChart(f"accuracy_{norm}", title, alt, label, "accuracy", series, True, True))
    return charts


def direction_charts(subjects: Sequence[Subject]) -> list[Chart]:
    """Loss and margin along the gradient and along random directions."""
    measured = [(subject.name, subject.directions) for subject in subjects if subject.directions is not None]
    charts: list[Chart] = []
    for what, title, label in (
        ("loss", "Loss along directions", "cross entropy, nats"),
        ("margin", "Margin along directions", "margin of the label, nats"),
    ):
        series, sentences = [], []
        for name, result in measured:
            x = result.epsilons
            toward, aside = (getattr(profile, what) for profile in (result.gradient, result.random))
            for kind, values in (("gradient", toward), ("random", aside)):
                series.append(Series(name, kind, x, values.mean, values.low, values.high))
            sentence = (
                f"{name}: mean {what} {toward.mean[0]:.2f} at 0, {toward.mean[-1]:.2f} at {x[-1]:g} along the gradient "
                f"and {aside.mean[-1]:.2f} along random directions"
            )
            if what == "margin":
                sentence += f"; a straight line explains {percent(result.linearity)} of a document's margin"
            sentences.append(f"{sentence} ({result.documents} documents).")
        if series:
            charts.append(LineChart(f"{what}_directions", title, " ".join(sentences), "epsilon (L2)", label, series))
    return charts


def smoothness_charts(subjects: Sequence[Subject]) -> list[Chart]:
    """How much predictions change in the virtual adversarial direction.

    At the size of each checkpoint's own settings; where these differ, in a second figure at the size of the first one.
    """
    measured = [subject for subject in subjects if subject.smoothness]
    own = [subject.epsilon for subject in measured]
    charts = _smoothness_chart("smoothness", "Smoothness at the epsilon of each", measured, own)
    if len(set(own)) > 1:
        title = f"Smoothness at epsilon {own[0]:g}"
        charts += _smoothness_chart("smoothness_same", title, measured, own[:1] * len(own))
    return charts


def _smoothness_chart(name: str, title: str, subjects: Sequence[Subject], epsilons: Sequence[float]) -> list[Chart]:
    """A histogram with one group for each checkpoint at its size; none where nothing has been measured."""
    groups = {
        f"{subject.name}, epsilon {epsilon:g}": np.array(result.values)
        for subject, epsilon in zip(subjects, epsilons, strict=True)
        for result in subject.smoothness
        if result.epsilon == epsilon
    }
    if not groups:
        return []
    every = np.maximum(np.concatenate(list(groups.values())), SMALLEST_LDS)
    low, high = float(every.min()), float(every.max())
    edges = np.geomspace(low, high if high > low else 2 * low, HISTOGRAM_BINS + 1)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # rounding must not leave an end out
    counts = {
        group: np.histogram(np.maximum(values, SMALLEST_LDS), edges)[0].tolist() for group, values in groups.items()
    }
    sentences = (
        f"{group}: median {np.median(values):.2g}, mean {values.mean():.2g}, largest {values.max():.2g} nats "
        f"({len(values)} documents)."
        for group, values in groups.items()
    )
    label = "local distributional smoothness, nats"
    return [Histogram(name, title, " ".join(sentences), label, edges.tolist(), counts)]


def training_charts(subjects: Sequence[Subject]) -> list[Chart]:
    """The curves of training: the terms of each checkpoint's loss, gradient norms, validation errors."""
    plans = []
    for number, one in enumerate(subjects, start=1):
        losses = [Series(name.replace("_", " "), "", *one.training[name]) for name in LOSSES if name in one.training]
        plans.append((f"losses_{number}", f"Losses of {one.name}", "nats", losses))
    for column, title, label in (
        ("gradient_norm", "Norm of the gradient", "L2 norm"),
        ("validation_error", "Validation error", "percent"),
    ):
        lines = [Series(one.name, "", *one.training[column]) for one in subjects if column in one.training]
        plans.append((column, title, label, lines))
    drawn = (plan for plan in plans if plan[-1])
    return [LineChart(name, title, _course(lines), "step", label, lines) for name, title, label, lines in drawn]


def _course(lines: Sequence[Series]) -> str:
    """Where each line starts and ends, and its lowest point."""
    return " ".join(
        f"{line.group}: {line.y[0]:.3g} at step {line.x[0]:g}, {line.y[-1]:.3g} at step {line.x[-1]:g}, "
        f"lowest {min(line.y):.3g}."
        for line in lines
    )
