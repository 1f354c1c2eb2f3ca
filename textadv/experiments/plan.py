"""The grid: one YAML file becomes a list of runs, each with its whole settings. Nothing is trained here."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

from textadv.errors import InputError
from textadv.experiments.overrides import Overrides, flat, load_yaml, overrides, typed_experiment
from textadv.settings import Experiment

KEYS = ("base", "settings", "labels", "seeds", "pretrained", "baseline")
CONTENDERS = ("textadv", "tfidf")
LONGEST_NAME = 200  # bytes; file systems allow 255


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
    content = load_yaml(file)
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
    if baseline not in (None, *settings):  # which may be a list or a mapping
        raise InputError(f"{file}: baseline: '{baseline}' is none of the settings {', '.join(settings)}")
    base = _base(file, content.get("base"))
    if "pretrained" in content:
        base["pretrained"] = content["pretrained"]
    seeds = _listed(file, content, "seeds")
    runs: list[PlannedRun] = []
    for (name, value), budget in product(settings.items(), _listed(file, content, "labels")):
        values = base | overrides(file, f"settings.{name}", value) | budget
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


def _experiment(file: Path, name: str, values: Overrides) -> Experiment:
    """The settings of a run.

    Raises:
        InputError: One has another type, or is out of range.
    """
    try:
        return typed_experiment(values)
    except InputError as error:
        raise InputError(f"{file}: {name}: {error}") from None


def _base(file: Path, base: Any) -> Overrides:
    """The settings that all runs start from."""
    if isinstance(base, str):
        path = file.parent / base
        return overrides(path, "", load_yaml(path))
    return overrides(file, "base", base)


def _listed(file: Path, content: Mapping[str, Any], key: str) -> list[Overrides]:
    """A list of overrides; without one, nothing is overridden."""
    listed = content.get(key, [{}])
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{file}: {key}: must be a list of overrides, such as `- {{data.seed: 1}}`")
    found = [overrides(file, key, one) for one in listed]
    if any("contender" in one for one in found):
        raise InputError(f"{file}: {key}: contender: belongs to settings")
    return found
