"""Where no config says the sizes: which preset is used and why, and how long each stage will take."""

import sys
from collections.abc import Set
from dataclasses import replace
from tempfile import TemporaryDirectory

from textadv.commands.check_data import look_over
from textadv.commands.shared import is_prepared, prepared
from textadv.corpus.checks import Check
from textadv.corpus.splits import TRAINING, choose_labels
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.presets import TRANSFORMER, Choice, beside_preset, choose_preset, sized, sized_tokenizer
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
    experiment = with_tokenizer(experiment, preset, given)
    look_over(experiment)
    preset, given = beside_preset(experiment.model, preset, given)
    if given is None:
        return prepared(experiment)
    tokenizer = experiment.tokenizer
    experiment, store = prepared(experiment)
    experiment, choice = with_preset(experiment, store, preset, given)
    _say(f"preset {choice.name}, {choice.reason}")
    if experiment.tokenizer == tokenizer:
        return experiment, store
    return prepared(experiment)  # the preset that was chosen has another one


def with_tokenizer(experiment: Experiment, preset: str | None, given: Set[str] | None) -> Experiment:
    """The experiment with the tokenizer of a preset, unless a config says it. See `prepared_and_sized`."""
    preset, given = beside_preset(experiment.model, preset, given)
    if given is None:
        return experiment
    return replace(experiment, tokenizer=sized_tokenizer(experiment.tokenizer, preset, given))


def with_preset(
    experiment: Experiment, store: TokenStore, preset: str | None, given: Set[str]
) -> tuple[Experiment, Choice]:
    """The experiment with the sizes of a preset, and which one that is, and why."""
    tokens, labels = _size(experiment, store)
    kind = device(experiment.trainer)
    choice = choose_preset(tokens, kind) if preset is None else Choice(preset, "as given")
    if preset == TRANSFORMER:
        choice = Choice(preset, "for a pretrained Transformer")
    reason = f"{choice.reason}: {tokens:,} tokens of text, {labels:,} labels that train, device {kind}"
    return sized(experiment, choice.name, given, tokens, labels), Choice(choice.name, reason)


def tell_durations(experiment: Experiment, store: TokenStore, pretrains: bool) -> dict[str, float]:
    """Measure how long the stages will take on this machine, and say it in a line each.

    Args:
        experiment: The settings.
        store: The prepared corpus.
        pretrains: Whether there is a language model to train.

    Returns:
        Seconds of each stage.
    """
    lines = _stages(experiment, store)
    measured = _measured(experiment, store, pretrains)
    for stage, seconds in measured.items():
        _say(f"{stage}: {lines[stage]}, about {_duration(seconds)} on this machine")
    return measured


def measured_time(experiment: Experiment, preset: str | None, given: Set[str] | None) -> Check:
    """How long a training on a corpus would take in one process; its store is kept only if it is there already."""
    alone = replace(experiment.trainer, devices=1, num_nodes=1)  # others would carry out the whole command anew
    with TemporaryDirectory() as folder:
        data = experiment.data if is_prepared(experiment) else replace(experiment.data, cache=folder)
        experiment, store = prepared(replace(experiment, data=data, trainer=alone))
        sizes = "the config"
        if given is not None:
            experiment, choice = with_preset(experiment, store, preset, given)
            sizes = f"preset {choice.name}"
        try:
            seconds = _measured(experiment, store, pretrains=experiment.model.is_recurrent)
        except InputError as error:
            return Check("time", "look", "not measured, as training would refuse the settings", {}, str(error))
    message = ", ".join(f"{stage} {_duration(value)}" for stage, value in seconds.items())
    return Check("time", "ok", f"{message} ({sizes})", {"seconds": seconds, "sizes": sizes})


def _measured(experiment: Experiment, store: TokenStore, pretrains: bool) -> dict[str, float]:
    """Seconds of each stage that there is."""
    measured = {"pretraining": pretraining_seconds(experiment, store)} if pretrains else {}
    return measured | {"fine-tuning": finetuning_seconds(experiment, store)}


def _stages(experiment: Experiment, store: TokenStore) -> dict[str, str]:
    """What each stage does, in a few words."""
    tokens, labels = _size(experiment, store)
    pretraining, finetuning = experiment.pretraining, experiment.finetuning
    over_text = pretraining.steps * pretraining.batch_size * pretraining.window / tokens
    if experiment.model.is_transformer:  # whose steps read whole documents
        over_text = pretraining.steps * pretraining.batch_size / sum(len(store.splits[name]) for name in TRAINING)
    over_labels = finetuning.steps * finetuning.batch_size / labels
    return {
        "pretraining": f"{pretraining.steps:,} steps, {_rounded(over_text, 3)} passes over the text",
        "fine-tuning": f"{finetuning.steps:,} steps, {_rounded(over_labels, 3)} passes over the labels",
    }


def _duration(seconds: float) -> str:
    """A time in words, in the unit that suits it."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{_rounded(seconds / length, 2)} {unit}"
    return f"{seconds:.0f} s"


def _rounded(value: float, digits: int) -> str:
    """A number with so many digits that count, but never as a power of ten: 110, not 1.1e+02."""
    return f"{float(f'{value:.{digits}g}'):,g}"


def _size(experiment: Experiment, store: TokenStore) -> tuple[int, int]:
    """Tokens of all training and unlabeled text, and labels that train."""
    data, labels = experiment.data, store.splits["train"].labels
    chosen = choose_labels(labels, store.classes, data.labels_per_class, data.validation_labels, data.seed)
    return sum(len(store.splits[name].tokens) for name in TRAINING), len(chosen.train)


def _say(line: str) -> None:
    if is_main():
        print(f"textadv: {line}", file=sys.stderr, flush=True)
