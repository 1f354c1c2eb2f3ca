"""Put a report together and write it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import textadv
from textadv.corpus.store import TokenStore
from textadv.evaluation.report import figures, findings, sections
from textadv.evaluation.report.charts import Chart
from textadv.evaluation.report.page import Figure, render
from textadv.evaluation.report.subjects import Subject

REPORT, FIGURES = "report.html", "figures"


def write_report(folder: Path, subjects: Sequence[Subject], store: TokenStore, split: str) -> Path:
    """Write `report.html`, which needs no other file, and each of its figures as PNG and as JSON into `figures`.

    Args:
        folder: Where to.
        subjects: The checkpoints, the one that the report is about first. What has not been measured is left out.
        store: The corpus they were measured on.
        split: Name of the split.
    """
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    matrices = findings.confusion_charts(subjects)
    for chart in matrices:
        _write_figure(folder, chart)  # tables on the page

    def shown(charts: Sequence[Chart]) -> list[Figure]:
        return [_figure(folder, chart) for chart in charts]

    cards = {
        "cards": sections.cards(subjects),
        "corpus": sections.corpus(store),
        "settings": [(subject.name, sections.settings(subject)) for subject in subjects],
    }
    quality = {
        "metrics": sections.metrics(subjects, split),
        "matrices": [chart.table() for chart in matrices],
        "figures": shown(findings.reliability_charts(subjects)),
    }
    attacked = [(one.name, one.robustness) for one in subjects if one.robustness is not None]
    robustness = {
        "figures": shown(findings.accuracy_charts(subjects)),
        "subjects": [(name, result, sections.attacks(name, result)) for name, result in attacked],
    }
    parts = {
        "model_cards": cards,
        "quality": quality if matrices else {},
        "robustness": robustness if attacked else {},
        "linearity": shown(findings.direction_charts(subjects)),
        "smoothness": shown(findings.smoothness_charts(subjects)),
        "word_examples": [
            (one.name, [(example, sections.moves(example.moves)) for example in one.examples])
            for one in subjects
            if one.examples
        ],
        "substitutions": [
            (name, result.words.examples) for name, result in attacked if result.words and result.words.examples
        ],
        "training": shown(findings.training_charts(subjects)),
    }
    first, *others = (subject.name for subject in subjects)
    lead = f"Measured on the {split} split" + (f", beside {', '.join(others)}." if others else ".")
    page = render(f"Report on {first}", lead, parts, f"Made by textadv {textadv.__version__}.")
    (folder / REPORT).write_text(page, encoding="utf-8")
    return folder / REPORT


def _figure(folder: Path, chart: Chart) -> Figure:
    """A figure of the page, written into its files too."""
    light, dark = _write_figure(folder, chart), figures.render(chart, dark=True)
    return Figure(chart.title, chart.alt, light, dark, chart.table())


def _write_figure(folder: Path, chart: Chart) -> bytes:
    """Write a figure as PNG and as JSON; returns the PNG."""
    png = figures.render(chart)
    file = folder / FIGURES / chart.name
    file.with_suffix(".png").write_bytes(png)
    file.with_suffix(".json").write_text(json.dumps(asdict(chart), indent=1) + "\n", encoding="utf-8")
    return png
