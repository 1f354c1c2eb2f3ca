from collections.abc import Callable
from typing import Any

import pytest
import torch

from textadv.benchmark.textbook import TextbookStep
from textadv.commands.benchmark import benchmark
from textadv.errors import InputError
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import Experiment


@pytest.mark.parametrize(
    "other",
    [
        {"adversary": "pgd-l2"},
        {"entropy_weight": 1.0},
        {"balance_weight": 1.0},
        {"pseudo_label_weight": 1.0},
        {"vat_target": 0.1},
        {"num_power_iterations": 2},
        {"class_weights": "balanced"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_terms_that_the_textbook_lacks_are_refused(
    with_finetuning: Callable[..., Experiment], other: dict[str, Any]
) -> None:
    """Ours would do more work, and the ratio of the speeds would mean nothing."""
    experiment = with_finetuning(**other)
    classifier = build_classifier(experiment.model, build_encoder(experiment.model, torch.ones(9)), 2)
    ((name, _),) = other.items()
    with pytest.raises(InputError, match=rf"--finetuning\.{name} .*textbook"):
        TextbookStep(classifier, experiment.finetuning, None)
    with pytest.raises(InputError, match=rf"--finetuning\.{name} .*textbook"):
        benchmark(experiment)  # before the corpus is read
