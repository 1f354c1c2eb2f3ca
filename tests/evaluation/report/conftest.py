from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.store import Split, TokenStore
from textadv.evaluation.masking import Check
from textadv.evaluation.metrics import classification_metrics
from textadv.evaluation.report.examples import Move, WordExample
from textadv.evaluation.report.measure import Directions, Profile, Smoothness, Spread
from textadv.evaluation.report.subjects import Subject
from textadv.evaluation.robustness import AttackCurve, Robustness
from textadv.evaluation.samples import Sample
from textadv.evaluation.substitution import ChangedDocument, WordCurve

EVIL = "<script>alert('x')</script>"
CLASSES = [EVIL, "R&D", "\u4e2d $x$"]
PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0], [0.3, 0.5, 0.2]])
LABELS = np.array([0, 1, 1, 2, 0])


def _robustness() -> Robustness:
    change = ChangedDocument(7, EVIL, "R&D", 0.2, [" good", f" {EVIL}", " film"], [" good", " a&b", " film"])
    return Robustness(
        split="validation",
        documents=40,
        clean_accuracy=0.875,
        zero_gradients=0.0,
        attacks=[
            AttackCurve("noise-l2", "l2", [1.0, 5.0], [0.85, 0.825]),
            AttackCurve("fgsm-l2", "l2", [1.0, 5.0], [0.5, 0.125]),
            AttackCurve("fgsm-linf", "linf", [0.01, 0.05], [0.475, 0.025]),
        ],
        transfer=[AttackCurve("fgsm-l2", "l2", [1.0, 5.0], [0.8, 0.6])],
        words=WordCurve([0.1, 0.2], [0.7, 0.4], 0.625, [change]),
        checks=[
            Check("logits repeat", True, "largest difference 0"),
            Check("accuracy falls with epsilon", False, "largest rise 1.0%"),
        ],
    )


def _example() -> WordExample:
    return WordExample(
        document=3,
        label=EVIL,
        predicted=EVIL,
        probability=0.9,
        predicted_perturbed="R&D",
        probability_perturbed=0.6,
        epsilon=0.5,
        words=[" one", f" {EVIL}", " <br>"],
        sizes=[0.1, 0.4, 0.2],
        skipped=0,
        moves=[Move(EVIL, 1, 0.4, "a&b"), Move("one", 0, 0.1, None)],
    )


def _spread(start: float, end: float) -> Spread:
    return Spread([start, end], [start - 1, end - 1], [start + 1, end + 1])


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
            directions=Directions(
                epsilons=[0.0, 5.0],
                gradient=Profile(_spread(0.25, 3.5), _spread(2.0, -3.0)),
                random=Profile(_spread(0.25, 0.375), _spread(2.0, 1.75)),
                linearity=0.985,
                documents=40,
            ),
            smoothness=[Smoothness(0.5, [0.0, 0.125, 0.5, 2.0])],
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
