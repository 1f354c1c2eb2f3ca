"""The checkpoints that a report is about, and what their runs left beside them."""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from textadv.checkpoints import BEST, resolve_checkpoint
from textadv.evaluation.metrics import ClassificationMetrics
from textadv.evaluation.report.examples import WordExample
from textadv.evaluation.report.measure import Directions, Smoothness
from textadv.evaluation.robustness import Robustness
from textadv.settings import FinetuningSettings

CURVES = "metrics.csv"  # as `finetune` writes it
LOSSES = ("loss", "cross_entropy", "adversarial_loss", "lds")
Points = tuple[list[float], list[float]]


@dataclass
class Subject:
    """A checkpoint and what is known about it; what has not been measured is None or empty."""

    name: str  # short, and of this checkpoint only
    checkpoint: str  # the file
    card: dict[str, Any]  # what it says about itself
    training: dict[str, Points] = field(default_factory=dict)  # steps and values of each training curve
    quality: ClassificationMetrics | None = None  # how good its predictions are
    robustness: Robustness | None = None  # accuracy under attack
    directions: Directions | None = None  # loss and margin along directions
    smoothness: list[Smoothness] = field(default_factory=list)  # at one or more sizes
    examples: list[WordExample] = field(default_factory=list)  # perturbed documents

    @classmethod
    def of(cls, path: Path, card: dict[str, Any], name: str | None = None) -> "Subject":
        """A checkpoint, or the folder of its run, that is still to be measured; it is called after its folder."""
        file = resolve_checkpoint(path)
        name = distinct_names([path])[0] if name is None else name
        return cls(name, str(file), card, training_curves(file.parent / CURVES))

    @property
    def epsilon(self) -> float:
        """L2 norm of the perturbations that it was trained with, or would have been."""
        tuning = self.card["settings"]["finetuning"]
        if "vat" in tuning["method"] and tuning.get("vat_epsilon") is not None:
            return float(tuning["vat_epsilon"])
        trained = FinetuningSettings(method="none", adversary=tuning["adversary"])
        in_l2 = tuning["method"] == "vat" or trained.adversary_is_in_l2
        return float(tuning["epsilon"] if in_l2 else trained.epsilon)

    def figures(self) -> dict[str, Any]:
        """What has been measured, to be written as JSON; the smoothness of single documents is summed up."""
        shown = ("name", "checkpoint", "quality", "robustness", "directions")
        figures = {name: value for name, value in asdict(self).items() if name in shown}
        return figures | {
            "smoothness": [
                {"epsilon": one.epsilon, "mean": float(np.mean(one.values)), "median": float(np.median(one.values))}
                for one in self.smoothness
            ]
        }


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Short names of checkpoints: their folder's, with the file's where that is not the best one; all different."""
    names = [_short_name(path) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def _short_name(path: Path) -> str:
    file = path.resolve()
    if file.suffix != Path(BEST).suffix:
        return file.name
    return file.parent.name if file.name == BEST else f"{file.parent.name}/{file.stem}"


def training_curves(file: Path) -> dict[str, Points]:
    """Steps and values of each curve that a report draws; empty where there is no such file.

    Args:
        file: A CSV file with a column `step`, in which a row holds some of the values only.
    """
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError):
        return {}
    curves = {}
    for column in (*LOSSES, "gradient_norm", "validation_error"):
        pairs = [(_number(row.get("step")), _number(row.get(column))) for row in rows]
        points = [(step, value) for step, value in pairs if step is not None and value is not None]
        if points:
            curves[column] = ([step for step, _ in points], [value for _, value in points])
    return curves


def _number(text: str | None) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
