from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.store import Split, TokenStore
from textadv.evaluation.metrics import classification_metrics
from textadv.evaluation.report.measure import Sample
from textadv.evaluation.report.subjects import Subject

EVIL = "<script>alert('x')</script>"
CLASSES = [EVIL, "R&D", "\u4e2d $x$"]
PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0], [0.3, 0.5, 0.2]])
LABELS = np.array([0, 1, 1, 2, 0])


def _robustness() -> dict[str, Any]:
    def row(attack: str, norm: str, epsilons: list[float], accuracy: list[float]) -> dict[str, Any]:
        return {"attack": f"{attack}-{norm}", "norm": norm, "epsilons": epsilons, "accuracy": accuracy}

    return {
        "split": "validation",
        "documents": 40,
        "clean_accuracy": 0.875,
        "attacks": [
            row("noise", "l2", [1.0, 5.0], [0.85, 0.825]),
            row("fgsm", "l2", [1.0, 5.0], [0.5, 0.125]),
            row("fgsm", "linf", [0.01, 0.05], [0.475, 0.025]),
        ],
        "transfer": [row("fgsm", "l2", [1.0, 5.0], [0.8, 0.6])],
        "words": {
            "budgets": [0.1, 0.2],
            "accuracy": [0.7, 0.4],
            "exchangeable": 0.625,
            "examples": [
                {
                    "document": 7,
                    "label": EVIL,
                    "predicted": "R&D",
                    "budget": 0.2,
                    "before": [" good", f" {EVIL}", " film"],
                    "after": [" good", " a&b", " film"],
                }
            ],
        },
        "checks": [
            {"name": "logits repeat", "passed": True, "detail": "largest difference 0"},
            {"name": "accuracy falls with epsilon", "passed": False, "detail": "largest rise 1.0%"},
        ],
    }


def _example() -> dict[str, Any]:
    return {
        "document": 3,
        "label": EVIL,
        "predicted": EVIL,
        "probability": 0.9,
        "predicted_perturbed": "R&D",
        "probability_perturbed": 0.6,
        "epsilon": 0.5,
        "words": [" one", f" {EVIL}", " <br>"],
        "sizes": [0.1, 0.4, 0.2],
        "skipped": 0,
        "moves": [
            {"word": EVIL, "place": 1, "size": 0.4, "towards": "a&b"},
            {"word": "one", "place": 0, "size": 0.1, "towards": None},
        ],
    }


def _summary(start: float, end: float) -> dict[str, list[float]]:
    return {"mean": [start, end], "low": [start - 1, end - 1], "high": [start + 1, end + 1]}


@pytest.fixture(scope="session")
def make_subject() -> Callable[[str], Subject]:
    """A subject with a number for everything, and with texts that must not become markup."""

    def make(name: str) -> Subject:
        tuning = {"method": "adversarial+vat", "epsilon": 0.5, "steps": 90, "adversary": EVIL}
        model = {"hidden_size": 7, "embedding_size": 5, "bidirectional": False, "pooling": "last"}
        settings = {"data": {"source": "a&b"}, "model": model, "finetuning": tuning, "seed": 3}
        card = {"settings": settings, "classes": CLASSES, "vocabulary_size": 9, "tokenizer_fingerprint": "f00d"}
        card |= {"labels": 1234, "step": 60, "pretrained": EVIL, "versions": {"torch": "2.13.0"}}
        return Subject(
            name=name,
            checkpoint=f"runs/{name}/best.ckpt",
            card=card,
            training={"loss": ([20.0, 40.0], [0.75, 0.5]), "validation_error": ([30.0], [12.25])},
            quality=classification_metrics(PROBABILITIES, LABELS),
            robustness=_robustness(),
            directions={
                "epsilons": [0.0, 5.0],
                "gradient": {"loss": _summary(0.25, 3.5), "margin": _summary(2.0, -3.0)},
                "random": {"loss": _summary(0.25, 0.375), "margin": _summary(2.0, 1.75)},
                "linearity": 0.985,
                "documents": 40,
            },
            smoothness=[{"epsilon": 0.5, "values": [0.0, 0.125, 0.5, 2.0]}],
            examples=[_example()],
        )

    return make


@pytest.fixture
def subjects(make_subject: Callable[[str], Subject]) -> list[Subject]:
    return [make_subject("first"), make_subject(f"_second {EVIL}")]


@pytest.fixture
def split(make_split: Callable[[list[str], list[int]], Split]) -> Split:
    texts = ["a film with plot", "one two three four five six seven", "", "many words and many words"]
    return make_split(texts, [0, 1, 2, 0])


@pytest.fixture
def sample(split: Split) -> Sample:
    return Sample(split, np.array([1, 0, 3, 2]))


@pytest.fixture
def store(split: Split, loaded: LoadedClassifier) -> TokenStore:
    size = loaded.card["vocabulary_size"]
    splits = dict.fromkeys(("train", "unlabeled", "validation", "test"), split)
    return TokenStore(Path("store"), "f", "t", loaded.classes, size, np.ones(size), loaded.tokenizer_json, splits, {})
