"""Recipes of the stand-in."""

from typing import Any

from textattack import Attack


class DeepWordBugGao2018:
    @staticmethod
    def build(model_wrapper: Any, use_all_transformations: bool = True) -> Attack:
        return Attack(model_wrapper)
