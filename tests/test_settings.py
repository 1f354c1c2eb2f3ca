from dataclasses import replace
from typing import Any

import pytest

from textadv.errors import InputError
from textadv.settings import Experiment, FinetuningSettings, check


def test_the_defaults_are_fine() -> None:
    check(Experiment())


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("finetuning", "steps", -3),
        ("finetuning", "epsilon", float("nan")),
        ("finetuning", "epsilon", -1.0),
        ("finetuning", "learning_rate", float("inf")),
        ("finetuning", "window", 0),
        ("finetuning", "dropout", 1.0),
        ("pretraining", "batch_size", 0),
        ("model", "hidden_size", 0),
        ("data", "seed", -1),
        ("data", "labels_per_class", -1),
    ],
)
def test_impossible_numbers_are_refused_by_name(section: str, name: str, value: Any) -> None:
    experiment = Experiment()
    setattr(getattr(experiment, section), name, value)
    with pytest.raises(InputError, match=f"--{section}.{name} "):
        check(experiment)


def test_negative_seed() -> None:
    with pytest.raises(InputError, match="--seed -1"):
        check(replace(Experiment(), seed=-1))


@pytest.mark.parametrize(
    ("method", "labeled", "vat"),
    [
        ("none", False, False),
        ("random", True, False),
        ("adversarial", True, False),
        ("vat", False, True),
        ("adversarial+vat", True, True),
    ],
)
def test_what_a_method_uses(method: Any, labeled: bool, vat: bool) -> None:
    settings = FinetuningSettings(method=method)
    assert (settings.perturbs_labeled, settings.uses_vat, settings.uses_unlabeled) == (labeled, vat, vat)
    assert not replace(settings, adv_weight=0.0).perturbs_labeled
    assert not replace(settings, vat_weight=0.0).uses_vat
    assert replace(settings, vat_weight=0.0, entropy_weight=0.1).uses_unlabeled
