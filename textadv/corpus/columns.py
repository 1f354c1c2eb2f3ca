"""Which column of a file holds the texts and which the labels, guessed from its first rows."""

from collections.abc import Mapping, Sequence
from typing import Any

LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "topic", "intent")


def guess_columns(sample: Mapping[str, Sequence[Any]], text: str, label: str) -> tuple[str, str] | None:
    """Guess the columns that a file does not have under the names they are looked for.

    The texts are taken to be the column of strings that are longest on average. The labels are a column whose values
    come back: one of a usual name, else the one with the fewest values.

    Args:
        sample: The first values of each column.
        text: Name that the text column should have.
        label: Name that the label column should have.

    Returns:
        Names of the text and the label column; None if there is nothing to guess from.
    """
    lengths = {
        name: sum(map(len, values)) / len(values)
        for name, values in sample.items()
        if name != label and values and all(isinstance(value, str) for value in values)
    }
    if text not in sample:
        if not lengths:
            return None
        text = max(lengths, key=lambda name: lengths[name])
    if label in sample:
        return text, label
    numbers = {name: _number_of_classes(values) for name, values in sample.items() if name != text}
    candidates = {name: number for name, number in numbers.items() if number is not None}
    if not candidates:
        return None
    return text, min(candidates, key=lambda name: (name.lower() not in LABEL_NAMES, candidates[name]))


def _number_of_classes(values: Sequence[Any]) -> int | None:
    """How many classes a column would have; None if its values hardly come back, or are no labels."""
    given = [value for value in values if value is not None and value != ""]
    if not all(isinstance(value, str | int) for value in given):
        return None
    number = len(set(given))
    return number if 2 <= number <= len(given) / 2 else None
