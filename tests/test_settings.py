from dataclasses import replace
from typing import Any

import pytest

from textadv.settings import FinetuningSettings


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
