"""Dataclasses of settings: each number has its range with its field, and a mark where a comparison leaves it out."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Annotated, Any, ClassVar, NamedTuple, get_args

from textadv.errors import InputError

FREE = {"free": True}  # metadata of a field that may change between a run and its continuation
CLASSIFIER_ONLY = {"classifier only": True}  # metadata of a field that a language model does not depend on
LIMIT = 2**63  # torch takes no larger seed, and nothing else can be that large


class Range(NamedTuple):
    """The values that a setting may have, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]

    def __repr__(self) -> str:
        return self.words  # which `--help` shows


def _rising(largest: float) -> Range:
    return Range(
        f"positive numbers of at most {largest:g}, rising",
        lambda values: (
            bool(values) and all(0 < value <= largest for value in values) and all(a < b for a, b in pairwise(values))
        ),
    )


NOT_NEGATIVE = Range("at least 0, below 2^63", lambda value: 0 <= value < LIMIT)  # of every number without another one
Positive = Annotated[int, Range("at least 1, below 2^63", lambda value: 1 <= value < LIMIT)]
Share = Annotated[float, Range("at least 0, below 1", lambda value: 0 <= value < 1)]
WholeShare = Annotated[float, Range("from 0 to 1", lambda value: 0 <= value <= 1)]
OpenShare = Annotated[float, Range("between 0 and 1 (neither included)", lambda value: 0 < value < 1)]
Cosine = Annotated[float, Range("from -1 to 1", lambda value: -1 <= value <= 1)]
Sizes = Annotated[list[float], _rising(1e6)]  # the squares of far larger ones overflow
Shares = Annotated[list[float], _rising(1.0)]


@dataclass
class Settings:
    """Settings that can be meant: each number in the range that stands with its field, null only where it is a choice.

    Raises:
        InputError: A setting has another value; the message names its flag.
    """

    prefix: ClassVar[str] = "--"  # what the names of the flags begin with

    def __init_subclass__(cls, section: str | None = None) -> None:
        if section is not None:
            cls.prefix = f"--{section}."

    def __post_init__(self) -> None:
        for one in fields(self):
            value, flag = getattr(self, one.name), f"{self.prefix}{one.name}"
            if value is None and one.default is not None:
                raise InputError(f"{flag}: must not be null")
            if value is None or isinstance(value, bool):
                continue
            types = (one.type, *get_args(one.type))  # of `Positive | None`, too
            ranges = [found for kind in types for found in getattr(kind, "__metadata__", ())]
            for allowed in ranges or [NOT_NEGATIVE] * isinstance(value, int | float):
                if not allowed.holds(value):
                    raise InputError(f"{flag} {value}: must be {allowed.words}")

    def unmarked(self, *marks: dict[str, bool]) -> dict[str, Any]:
        """The values of all fields but those with a mark (`FREE`, `CLASSIFIER_ONLY`), by name."""
        names = {name for mark in marks for name in mark}
        return {one.name: getattr(self, one.name) for one in fields(self) if not one.metadata.keys() & names}
