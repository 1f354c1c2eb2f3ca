from typing import Any

import pytest

from textadv.evaluation.report.sections import _perturbation


@pytest.mark.parametrize(
    ("tuning", "said"),
    [
        ({"method": "none"}, "not perturbed"),
        ({"method": "random"}, "0.5"),
        ({"method": "vat", "adversary": "pgd-l2"}, "0.5"),
        ({"method": "adversarial"}, "0.5 (adversary fgsm-l2)"),
        ({"method": "adversarial+vat", "adversary": "pgd-linf"}, "0.5 (adversary pgd-linf)"),
        ({"method": "adversarial", "adversary": "fgsm-l2-bad"}, "0.5 (adversary fgsm-l2-bad)"),
        ({"method": "adversarial", "vat_epsilon": 2.0}, "0.5 (adversary fgsm-l2)"),
        ({"method": "vat", "vat_epsilon": 2.0}, "2"),
        (
            {"method": "adversarial+vat", "adversary": "fgsm-linf", "vat_epsilon": 2.0},
            "0.5 (adversary fgsm-linf), 2 virtual",
        ),
    ],
)
def test_a_model_card_says_what_was_trained_against(tuning: dict[str, Any], said: str) -> None:
    assert _perturbation({"method": "adversarial+vat", "epsilon": 0.5, "adversary": "fgsm-l2"} | tuning) == said
