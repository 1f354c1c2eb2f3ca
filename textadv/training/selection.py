"""What the best checkpoint of a fine-tuning is: the smallest validation error, or the largest macro-F1."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from textadv.settings import FinetuningSettings

TEMPERATURE = "temperature"  # its name in the curves, and in the card of a checkpoint
UNEVEN = 1.5  # the largest class as a multiple of the smallest


class Measure(NamedTuple):
    """A figure of validation that selects.

    Attributes:
        name: As in `--finetuning.selection`.
        monitor: Under which name it is logged.
        mode: min or max.
    """

    name: str
    monitor: str
    mode: str


ERROR, MACRO_F1 = Measure("error", "validation_error", "min"), Measure("macro_f1", "validation_macro_f1", "max")


def choose_measure(settings: FinetuningSettings, counts: Sequence[int], classes: Sequence[str]) -> tuple[Measure, str]:
    """What selects, and why.

    Where a class is rare, the error hardly shows whether anything of it is found; macro-F1 counts all classes alike.

    Args:
        settings: The choice, or `auto`.
        counts: Labels of each class among those that select, (C,).
        classes: Names of the classes.

    Returns:
        The measure, and the reason in words.
    """
    chosen = {measure.name: measure for measure in (ERROR, MACRO_F1)}.get(settings.selection)
    if chosen is not None:
        return chosen, f"--finetuning.selection {settings.selection}"
    largest, smallest = int(np.argmax(counts)), int(np.argmin(counts))
    measure = MACRO_F1 if counts[largest] > UNEVEN * counts[smallest] else ERROR
    most, fewest = f"{counts[largest]} of class {classes[largest]!r}", f"{counts[smallest]} of {classes[smallest]!r}"
    return measure, f"the labels that select are {most} and {fewest}"
