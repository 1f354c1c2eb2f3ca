"""Where no config says the sizes: which preset is used and why, and how long each stage will take."""

import sys
from collections.abc import Set
from dataclasses import replace

from textadv.commands.check_data import look_over
from textadv.commands.shared import prepared
from textadv.corpus.splits import TRAINING, choose_labels
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.presets import choose_preset, sized, sized_tokenizer
from textadv.settings import Experiment
from textadv.system.machine import device
from textadv.system.processes import is_main
from textadv.training.estimates import finetuning_seconds, pretraining_seconds


def prepared_and_sized(
    experiment: Experiment, preset: str | None, given: Set[str] | None
) -> tuple[Experiment, TokenStore]:
    """The corpus, and the experiment with the sizes of a preset, unless a config says them.

    Args:
        experiment: With the settings that were given.
        preset: Name of the preset; None to choose it by the corpus and the device.
        given: Dotted names of the settings that were given; None where a config has given all of them.

    Returns:
        The experiment and the prepared corpus.

    Raises:
        InputError: There is no such preset, or there is a config as well.
    """
    if given is None and preset is not None:
        raise InputError(f"--preset {preset}: --config gives all sizes; only one of the two can be used")
    tokenizer = experiment.tokenizer if given is None else sized_tokenizer(experiment.tokenizer, given, preset)
    look_over(experiment.data, tokenizer)
    experiment, store = prepared(replace(experiment, tokenizer=tokenizer))
    if given is None:
        return experiment, store
    experiment, line = sized_for(experiment, store, preset, given)
    _say(line)
    if experiment.tokenizer == tokenizer:
        return experiment, store
    return prepared(experiment)  # the preset that was chosen has another one


def sized_for(experiment: Experiment, store: TokenStore, preset: str | None, given: Set[str]) -> tuple[Experiment, str]:
    """The experiment with the sizes of a preset, and the line that says which one, and why."""
    tokens, labels = _size(experiment, store)
    kind = device(experiment.trainer)
    name, reason = (preset, "as given") if preset is not None else choose_preset(tokens, kind)
    line = f"preset {name} ({reason}): {tokens:,} tokens of text, {labels:,} labels that train, device {kind}"
    return sized(experiment, name, given, tokens, labels), line


def tell_durations(experiment: Experiment, store: TokenStore, pretrains: bool) -> dict[str, float]:
    """Measure how long the stages will take on this machine, and say it in a line each.

    Args:
        experiment: The settings.
        store: The prepared corpus.
        pretrains: Whether there is a language model to train.

    Returns:
        Seconds of each stage.
    """
    lines = stages(experiment, store)
    measured = {"pretraining": pretraining_seconds(experiment, store)} if pretrains else {}
    measured["fine-tuning"] = finetuning_seconds(experiment, store)
    for stage, seconds in measured.items():
        _say(f"{stage}: {lines[stage]}, about {duration(seconds)} on this machine")
    return measured


def stages(experiment: Experiment, store: TokenStore) -> dict[str, str]:
    """What each stage does, in a few words."""
    tokens, labels = _size(experiment, store)
    pretraining, finetuning = experiment.pretraining, experiment.finetuning
    over_text = pretraining.steps * pretraining.batch_size * pretraining.window / tokens
    over_labels = finetuning.steps * finetuning.batch_size / labels
    return {
        "pretraining": f"{pretraining.steps:,} steps, {over_text:.3g} passes over the text",
        "fine-tuning": f"{finetuning.steps:,} steps, {over_labels:.3g} passes over the labels",
    }


def duration(seconds: float) -> str:
    """A time in words, in the unit that suits it."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.0f} s"


def _size(experiment: Experiment, store: TokenStore) -> tuple[int, int]:
    """Tokens of all training and unlabeled text, and labels that train."""
    data, labels = experiment.data, store.splits["train"].labels
    chosen = choose_labels(labels, data.labels_per_class, data.validation_labels, data.seed)
    return sum(len(store.splits[name].tokens) for name in TRAINING), len(chosen.train)


def _say(line: str) -> None:
    if is_main():
        print(f"textadv: {line}", file=sys.stderr, flush=True)
