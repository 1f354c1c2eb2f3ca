"""Settings by their dotted names, as YAML files and Python hold them, and the experiment that they make."""

from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from textadv.errors import InputError
from textadv.settings import Experiment
from textadv.system.yaml_text import PARSER_MODE, TextLoader, check_file

BESIDE = ("pretrained", "contender")  # what can be overridden besides the settings
Overrides = dict[str, Any]  # dotted names of settings, and their values as the text that stands in the file


def typed_experiment(values: Mapping[str, Any]) -> Experiment:
    """Settings of the types that they have.

    Args:
        values: By dotted name; what is not an experiment's (`BESIDE`) is passed over.

    Raises:
        InputError: One has another type, or is out of range.
    """
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, _, setting = key.rpartition(".")
        if key not in BESIDE:
            (nested.setdefault(section, {}) if section else nested)[setting] = value
    try:
        # Without the defaults, which take jsonargparse a hundred times as long; the classes have them.
        given = _parser().parse_string(yaml.safe_dump(nested), defaults=False).as_dict()
    except ArgumentError as error:
        raise InputError(" ".join(str(error).split())) from None
    types: dict[str, Any] = {one.name: one.type for one in fields(Experiment)}
    return Experiment(
        **{key: types[key](**value) if isinstance(value, dict) else value for key, value in given.items()}
    )


@cache
def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, parser_mode=PARSER_MODE)
    parser.add_class_arguments(Experiment, as_group=False)
    return parser


def load_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML file with keys.

    Args:
        file: The file.

    Raises:
        InputError: It cannot be read as one.
    """
    check_file(str(file))
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=TextLoader)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{file}: must hold keys with values")
    return content


def overrides(file: Path, place: str, content: Any) -> Overrides:
    """Take settings out of what a file holds.

    Args:
        file: For the message.
        place: Where in it, for the message.
        content: What stands there.

    Returns:
        The settings by dotted name.

    Raises:
        InputError: One is unknown, or is given twice.
    """
    if not isinstance(content, dict):
        raise InputError(f"{file}: {place}: must hold settings by their names")
    found: Overrides = {}
    for key, value in flat(content):
        if key not in _KNOWN:
            raise InputError(f"{file}: {f'{place}: ' if place else ''}{key}: there is no such setting")
        if key in found:
            raise InputError(f"{file}: {f'{place}: ' if place else ''}{key}: is given twice")
        found[key] = value
    return found


def flat(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values with their dotted names."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _known() -> set[str]:
    """Dotted names of all that can be overridden."""
    sections: list[tuple[str, Any]] = [(one.name, one.type) for one in fields(Experiment)]
    nested = {f"{name}.{one.name}" for name, kind in sections if is_dataclass(kind) for one in fields(kind)}
    return nested | {name for name, kind in sections if not is_dataclass(kind)} | set(BESIDE)


_KNOWN = _known()
