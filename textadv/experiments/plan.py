"""The grid: one YAML file becomes a list of runs, each with its whole settings. Nothing is trained here."""

import re
from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cache
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from textadv.errors import InputError
from textadv.settings import Experiment
from textadv.system.yaml_text import PARSER_MODE, TextLoader, check_file

KEYS = ("base", "settings", "labels", "seeds", "pretrained", "baseline")
CONTENDERS = ("textadv", "tfidf")
LONGEST_NAME = 200  # bytes; file systems allow 255
BESIDE = ("pretrained", "contender")  # what can be overridden besides the settings
Overrides = dict[str, Any]  # dotted names of settings, and their values as the text that stands in the file


@dataclass(frozen=True)
class PlannedRun:
    """One cell of the grid.

    Attributes:
        name: Of its folder, too.
        setting: Name of the setting.
        budget: What `labels` says of it.
        seeds: What `seeds` says of it.
        experiment: Its settings.
        shared: The settings that its corpus and its language model are made with, which all seeds share.
        pretrained: Checkpoint of a language model; `none` for random weights; None for the one of `shared`.
        contender: What is trained, one of `CONTENDERS`.
    """

    name: str
    setting: str
    budget: Overrides
    seeds: Overrides
    experiment: Experiment
    shared: Experiment
    pretrained: str | None
    contender: str


@dataclass(frozen=True)
class Plan:
    """What the file asks for.

    Attributes:
        file: The file.
        runs: In the order in which they are done: every seed of a setting and budget in turn.
        baseline: The setting that the others are compared with.
    """

    file: Path
    runs: list[PlannedRun]
    baseline: str | None

    @property
    def settings(self) -> list[str]:
        """Names of the settings, in the order of the file."""
        return list(dict.fromkeys(run.setting for run in self.runs))


def read_plan(file: Path) -> Plan:
    """Read the file, and refuse all that can be known to be wrong without a corpus.

    Args:
        file: YAML with the keys `KEYS`: `base` holds settings, or the path of a config, seen from this file;
            `settings` are named overrides; `labels` and `seeds` are lists of overrides. All combinations are run.

    Raises:
        InputError: A key is unknown, a value is out of range, or a part is missing; the message names file and key.
    """
    content = _load(file)
    for key in content:
        if key not in KEYS:
            raise InputError(f"{file}: {key}: there is no such key; there are {', '.join(KEYS)}")
    settings = content.get("settings")
    if not isinstance(settings, dict) or not settings:
        raise InputError(f"{file}: settings: must hold named overrides, such as `none: {{finetuning.method: none}}`")
    for name in settings:
        if not isinstance(name, str) or not re.fullmatch(r"[\w+][\w+.-]*", name):
            raise InputError(f"{file}: settings: '{name}': a name has letters, digits and _ + . - only")
    baseline = content.get("baseline")
    if baseline is not None and baseline not in settings:
        raise InputError(f"{file}: baseline: '{baseline}' is none of the settings {', '.join(settings)}")
    base = _base(file, content.get("base"))
    if "pretrained" in content:
        base["pretrained"] = content["pretrained"]
    seeds = _listed(file, content, "seeds")
    runs: list[PlannedRun] = []
    for (name, value), budget in product(settings.items(), _listed(file, content, "labels")):
        values = base | _overrides(file, f"settings.{name}", value) | budget
        runs += _runs(file, name, values, budget, seeds)
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{file}: two runs are the same: {name}")
    return Plan(file, runs, baseline)


def _runs(
    file: Path, setting: str, values: Overrides, budget: Overrides, listed: list[Overrides]
) -> Iterator[PlannedRun]:
    """The runs of a setting and a budget, one per seed."""
    contender = values.setdefault("contender", CONTENDERS[0])
    if contender not in CONTENDERS:
        raise InputError(f"{file}: {setting}: contender: must be one of {', '.join(CONTENDERS)}")
    if contender == "tfidf":
        values["finetuning.method"] = "none"  # it reads no unlabeled text
    common = _experiment(file, setting, values)
    for seeds in listed:
        chosen = (f"{key}={'null' if value is None else value}" for key, value in sorted((budget | seeds).items()))
        name = _run_name(",".join([setting, *chosen]))
        experiment = _experiment(file, name, values | seeds)
        if experiment.trainer.devices * experiment.trainer.num_nodes > 1:
            raise InputError(f"{file}: {name}: trainer.devices: an experiment trains in one process")
        shared = replace(experiment, seed=common.seed, data=replace(experiment.data, seed=common.data.seed))
        typed = values | seeds | dict(flat(asdict(experiment)))
        parts = [{key: typed[key] for key in sorted(part)} for part in (budget, seeds)]  # whatever their order
        yield PlannedRun(name, setting, parts[0], parts[1], experiment, shared, typed.get("pretrained"), contender)


def _run_name(text: str) -> str:
    """A name for a folder. A long one is cut off and ends in a sum of all of it."""
    name = re.sub(r"[^\w+.,=-]", "_", text)
    if len(name.encode()) <= LONGEST_NAME:
        return name
    end = f"-{blake2b(text.encode(), digest_size=4).hexdigest()}"
    return name.encode()[: LONGEST_NAME - len(end)].decode(errors="ignore") + end


@cache
def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, parser_mode=PARSER_MODE)
    parser.add_class_arguments(Experiment, as_group=False)
    return parser


def _experiment(file: Path, name: str, values: Overrides) -> Experiment:
    """Settings of the types that they have.

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
        types: dict[str, Any] = {one.name: one.type for one in fields(Experiment)}
        typed = {key: types[key](**value) if isinstance(value, dict) else value for key, value in given.items()}
        return Experiment(**typed)
    except (ArgumentError, InputError) as error:
        raise InputError(f"{file}: {name}: {' '.join(str(error).split())}") from None


def _load(file: Path) -> dict[str, Any]:
    """A YAML file with keys.

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


def _base(file: Path, base: Any) -> Overrides:
    """The settings that all runs start from."""
    if isinstance(base, str):
        path = file.parent / base
        return _overrides(path, "", _load(path))
    return _overrides(file, "base", base)


def _listed(file: Path, content: Mapping[str, Any], key: str) -> list[Overrides]:
    """A list of overrides; without one, nothing is overridden."""
    listed = content.get(key, [{}])
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{file}: {key}: must be a list of overrides, such as `- {{data.seed: 1}}`")
    found = [_overrides(file, key, one) for one in listed]
    if any("contender" in one for one in found):
        raise InputError(f"{file}: {key}: contender: belongs to settings")
    return found


def _overrides(file: Path, place: str, content: Any) -> Overrides:
    """Settings by dotted name.

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
