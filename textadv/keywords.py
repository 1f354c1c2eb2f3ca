"""Settings as keywords of Python: their names, the experiment that they make, and what is wrong in their words."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import numpy as np

from textadv.checkpoints import trained_with
from textadv.corpus.arguments import TRAIN, UNLABELED
from textadv.errors import ArgumentError, InputError
from textadv.experiments.overrides import flat, load_yaml, overrides, typed_experiment
from textadv.settings import Experiment
from textadv.system import configs

PLAIN = ("finetuning", "model")  # sections whose settings have no section in their keywords
BESIDE = ("config", "preset", "pretrained")  # what `finetune` has besides the settings
WATCHERS = ("callbacks", "logger")  # what is no setting: objects of Lightning's
GIVEN = ("data.source", "data.train")  # whose place the texts take
FILES = frozenset({*GIVEN, *(f"data.{name}" for name in ("unlabeled", "validation", "test", "cache"))})


def _keywords() -> dict[str, str]:
    """The dotted name of each setting by its keyword."""
    sections: dict[str, Any] = {one.name: one.type for one in fields(Experiment)}
    found = {name: name for name in (*BESIDE, *(name for name, kind in sections.items() if not is_dataclass(kind)))}
    for section in dict.fromkeys([*PLAIN, *sections]):
        for one in fields(sections[section]) if section not in found else ():
            is_plain = section in PLAIN and one.name not in found
            found[one.name if is_plain else f"{section}_{one.name}"] = f"{section}.{one.name}"
    return {keyword: name for keyword, name in found.items() if name not in GIVEN}


KEYWORDS = _keywords()
_KEYWORD_OF = {name: keyword for keyword, name in KEYWORDS.items()}


SIGNATURE = Signature(
    [Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)]
    + [Parameter(keyword, Parameter.KEYWORD_ONLY, default=None) for keyword in (*KEYWORDS, *WATCHERS)]
)


def experiment_of(given: Mapping[str, Any]) -> Experiment:
    """The experiment that keywords make.

    Args:
        given: Values of all `KEYWORDS`; None for those that are not given.

    Raises:
        InputError: A value has another type, or is out of range.
    """
    values: dict[str, Any] = {}
    if given["config"] is not None:
        file = Path(configs.find_config(str(given["config"])))
        values = overrides(file, "", load_yaml(file))
    for keyword, name in KEYWORDS.items():
        if name not in BESIDE and given[keyword] is not None:
            values[name] = _plain(keyword, given[keyword])
    return typed_experiment(values)


def names_of(given: Mapping[str, Any]) -> set[str] | None:
    """The dotted names of the settings that are given, which a preset leaves as they are.

    Args:
        given: As of `experiment_of`.

    Returns:
        The names; None with a config, which gives all of them.
    """
    if given["config"] is not None:
        return None
    return {name for keyword, name in KEYWORDS.items() if name not in BESIDE and given[keyword] is not None}


def _plain(keyword: str, value: Any) -> str | int | float | bool:
    """A value as YAML has it."""
    value = value.item() if isinstance(value, np.generic) else str(value) if isinstance(value, Path) else value
    if isinstance(value, str | int | float):
        return value
    raise InputError(f"{keyword} {value!r:.60}: must be a string, a number or a boolean")


def keywords_of(card: dict[str, Any]) -> dict[str, Any]:
    """The keywords that a classifier was trained with, but for files and the machine.

    Defaults are among them: otherwise a preset would choose others in their place, when it is trained anew.

    Args:
        card: What the classifier says about itself.

    Returns:
        Values by keyword.

    Raises:
        InputError: The card holds settings that there are not.
    """
    values = flat(asdict(trained_with(card)))
    return {_KEYWORD_OF[name]: value for name, value in values if name not in FILES and not name.startswith("trainer.")}


@contextmanager
def in_words_of_python(folder: Path = Path()) -> Iterator[None]:
    """Name what is wrong as a caller from Python knows it: arguments and keywords, not files and flags.

    Args:
        folder: Where `fit` has written the texts.

    Raises:
        ArgumentError: In the place of an `InputError`.
    """
    try:
        yield
    except InputError as error:
        message = str(error)
        for argument, file in (("X", TRAIN), ("unlabeled", UNLABELED)):
            message = _with_rows_of(argument, folder / file, message)
        message = re.sub(r'(?:--|Parser key )"?(\w+(?:\.\w+)?)"?', lambda m: _KEYWORD_OF.get(m[1], m[0]), message)
        raise ArgumentError(message) from None


def _with_rows_of(argument: str, file: Path, message: str) -> str:
    """A message about a line of a file, as one about an element of an argument."""
    line = rf"{re.escape(str(file))}(?:, line (?P<number>\d+)(?P<column>: column '\w*')?)?"

    def element(found: re.Match[str]) -> str:
        index = "" if found["number"] is None else f"[{int(found['number']) - 1}]"
        return f"{argument}{index}" + (":" if found["column"] else "")

    return re.sub(line, element, message)
