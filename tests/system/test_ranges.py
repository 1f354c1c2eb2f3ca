from dataclasses import replace
from typing import Any

import pytest

from textadv.errors import InputError
from textadv.settings import AttackSettings, Experiment, Options
from textadv.system.ranges import check, check_nulls


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


def test_vat_needs_a_size_of_its_own_beside_an_adversary_in_linf() -> None:
    experiment = Experiment()
    experiment.finetuning.adversary = "pgd-linf"
    with pytest.raises(InputError, match=r"--finetuning\.vat_epsilon"):
        check(experiment)
    experiment.finetuning.vat_epsilon = 5.0
    check(experiment)
    experiment.finetuning = replace(experiment.finetuning, vat_epsilon=None, method="adversarial")
    check(experiment)


def test_negative_seed() -> None:
    with pytest.raises(InputError, match="--seed -1"):
        check(replace(Experiment(), seed=-1))


def test_nulls_are_for_what_may_be_absent() -> None:
    with pytest.raises(InputError, match=r"--attack\.documents: must not be null"):
        check_nulls(Options(attack=AttackSettings(documents=None)))  # type: ignore[arg-type]
    check_nulls(Options(output=None, source_checkpoint=None))
