from dataclasses import replace
from typing import Any

import pytest

from textadv.errors import InputError
from textadv.settings import (
    AttackSettings,
    DataSettings,
    Experiment,
    FinetuningSettings,
    ModelSettings,
    PretrainingSettings,
    TokenizerSettings,
    TrainerSettings,
)


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


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        (FinetuningSettings, "finetuning.steps", -3),
        (FinetuningSettings, "finetuning.epsilon", float("nan")),
        (FinetuningSettings, "finetuning.epsilon", -1.0),
        (FinetuningSettings, "finetuning.vat_epsilon", -1.0),
        (FinetuningSettings, "finetuning.learning_rate", float("inf")),
        (FinetuningSettings, "finetuning.learning_rate_decay", 1e18),
        (FinetuningSettings, "finetuning.layer_decay", 1e18),
        (FinetuningSettings, "finetuning.window", 0),
        (FinetuningSettings, "finetuning.dropout", 1.0),
        (FinetuningSettings, "finetuning.num_steps", None),
        (PretrainingSettings, "pretraining.batch_size", 0),
        (PretrainingSettings, "pretraining.learning_rate_decay", 1.0001),
        (ModelSettings, "model.hidden_size", 0),
        (TrainerSettings, "trainer.devices", 0),
        (TrainerSettings, "trainer.tf32", None),
        (TokenizerSettings, "tokenizer.min_documents", 0),
        (DataSettings, "data.seed", -1),
        (DataSettings, "data.seed", 2**63),
        (DataSettings, "data.labels_per_class", 0),
        (DataSettings, "data.validation_labels", -1),
        (DataSettings, "data.validation_fraction", 0.0),
        (DataSettings, "data.validation_fraction", 1.0),
        (DataSettings, "data.text_column", None),
        (AttackSettings, "attack.documents", 0),
        (AttackSettings, "attack.documents", None),
        (AttackSettings, "attack.attacks", None),
        (AttackSettings, "attack.l2_epsilons", [2.0, 1.0]),
        (AttackSettings, "attack.linf_epsilons", [0.0]),
        (AttackSettings, "attack.linf_epsilons", [1.0, float("inf")]),
        (AttackSettings, "attack.word_budgets", [0.1, 1.5]),
        (AttackSettings, "attack.word_budgets", []),
        (AttackSettings, "attack.minimum_similarity", float("nan")),
        (Experiment, "seed", -1),
        (Experiment, "seed", None),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_name_of_its_flag(section: Any, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^--{name}[ :].*must ") as refusal:
        section(**{name.rpartition(".")[2]: value})
    assert "\n" not in str(refusal.value)


def test_the_ends_of_the_ranges_can_be_meant() -> None:
    DataSettings(labels_per_class=1, seed=2**63 - 1)
    FinetuningSettings(dropout=0.0, alpha=5.0, vat_epsilon=0.0, learning_rate_decay=1.0, layer_decay=0.0)
    AttackSettings(l2_epsilons=[1e6], word_budgets=[1.0], minimum_similarity=-1.0)


def test_a_setting_that_is_changed_is_checked_as_well() -> None:
    with pytest.raises(InputError, match=r"--finetuning\.steps 0"):
        replace(FinetuningSettings(), steps=0)


def test_vat_needs_a_size_of_its_own_beside_an_adversary_in_linf() -> None:
    with pytest.raises(InputError, match=r"--finetuning\.vat_epsilon"):
        FinetuningSettings(adversary="pgd-linf")
    FinetuningSettings(adversary="pgd-linf", vat_epsilon=5.0)
    FinetuningSettings(adversary="pgd-linf", method="adversarial")


def test_adversaries_that_contradict_themselves() -> None:
    with pytest.raises(InputError, match=r"--finetuning\.alpha 6"):
        FinetuningSettings(adversary="rfgsm-l2", alpha=6.0)
