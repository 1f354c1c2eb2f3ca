"""Put a report together and write it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import textadv
from textadv.corpus.store import TokenStore
from textadv.evaluation.report import figures, findings, sections
from textadv.evaluation.report.charts import Chart
from textadv.evaluation.report.numbers import number_table
from textadv.evaluation.report.page import Html, beside, details, document, join, picture, tag
from textadv.evaluation.report.subjects import Subject

REPORT, FIGURES = "report.html", "figures"
LINEARITY = (
    "A step along the gradient of the loss misleads a linear classifier, a random step of the same size hardly does "
    "(Goodfellow, Shlens, Szegedy 2015). The straighter the margin falls along the gradient, the more linear the "
    "classifier. The margin is that of the label, z_y - log sum of exp(z_c) over the other classes. Lines are means "
    "over documents, bands hold the middle 80 % of them."
)
SMOOTHNESS = (
    "How much the prediction changes, as a KL divergence, in the direction in which it changes fastest; virtual "
    "adversarial training is to make it small. The step is the epsilon of each checkpoint's settings; only where it is "
    "of one size can checkpoints be compared."
)
TRAINING = "As the run wrote them into metrics.csv."


def write_report(folder: Path, subjects: Sequence[Subject], store: TokenStore, split: str) -> Path:
    """Write `report.html`, and each of its figures as PNG and as JSON into `figures`.

    Args:
        folder: Where to.
        subjects: The checkpoints, the one that the report is about first. What has not been measured is left out.
        store: The corpus they were measured on.
        split: Name of the split.

    Returns:
        The HTML file; it needs none of the others.
    """
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for chart in findings.confusion_charts(subjects):
        _write_figure(folder, chart)  # tables on the page

    def shown(charts: Sequence[Chart]) -> list[Html]:
        return [_figure(folder, chart) for chart in charts]

    parts: list[tuple[str, Html | None]] = [
        ("Model card", sections.model_cards(subjects, _corpus(store))),
        ("Quality", sections.quality(subjects, split, shown(findings.reliability_charts(subjects)))),
        ("Robustness", sections.robustness(subjects, shown(findings.accuracy_charts(subjects)))),
        ("Linearity", _explained(LINEARITY, shown(findings.direction_charts(subjects)))),
        ("Smoothness", _explained(SMOOTHNESS, shown(findings.smoothness_charts(subjects)))),
        ("Words and their perturbations", sections.word_examples(subjects)),
        ("Words replaced", sections.substitutions(subjects)),
        ("Training", _explained(TRAINING, shown(findings.training_charts(subjects)))),
    ]
    first, *others = (subject.name for subject in subjects)
    lead = f"Measured on the {split} split" + (f", beside {', '.join(others)}." if others else ".")
    content = [(heading, part) for heading, part in parts if part]
    page = document(f"Report on {first}", lead, content, f"Made by textadv {textadv.__version__}.")
    (folder / REPORT).write_text(page, encoding="utf-8")
    return folder / REPORT


def _corpus(store: TokenStore) -> dict[str, dict[str, int]]:
    return {name: {"documents": len(split), "tokens": len(split.tokens)} for name, split in store.splits.items()}


def _explained(lead: str, figures: Sequence[Html]) -> Html | None:
    return join([tag("p", lead), beside(*figures)]) if figures else None


def _figure(folder: Path, chart: Chart) -> Html:
    """A figure of the page, written into its files too."""
    light, dark = _write_figure(folder, chart), figures.render(chart, dark=True)
    numbers = details("In numbers", tag("p", chart.alt), number_table(chart))
    return tag("figure", tag("figcaption", chart.title), picture(light, dark, chart.alt), numbers)


def _write_figure(folder: Path, chart: Chart) -> bytes:
    """Write a figure as PNG and as JSON; returns the PNG."""
    png = figures.render(chart)
    file = folder / FIGURES / chart.name
    file.with_suffix(".png").write_bytes(png)
    file.with_suffix(".json").write_text(json.dumps(asdict(chart), indent=1) + "\n", encoding="utf-8")
    return png
