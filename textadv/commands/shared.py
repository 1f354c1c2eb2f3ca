"""What several commands need: the corpus, and the checkpoint to go on from."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from textadv.checkpoints import LoadedClassifier, newest_intact, trained_with
from textadv.corpus.preparation import prepare
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import DataSettings, DeviceSettings, Experiment, TokenizerSettings, TrainerSettings
from textadv.system.processes import is_main


def prepared(experiment: Experiment) -> tuple[Experiment, TokenStore]:
    """The experiment with the tokenizer that its corpus has, for a store that is given has its own, and the corpus."""
    store = prepare(experiment.data, experiment.tokenizer)
    tokenizer = asdict(experiment.tokenizer) | store.settings["tokenizer"]
    return replace(experiment, tokenizer=TokenizerSettings(**tokenizer)), store


def measured_experiment(
    loaded: LoadedClassifier, data: DataSettings, tokenizer: TokenizerSettings, device: DeviceSettings
) -> tuple[Experiment, TokenStore]:
    """What a classifier is measured with: the corpus that is named, or else its own, by default tokenized as that was.

    Args:
        loaded: The classifier.
        data: The corpus that is named; without one, what differs from the defaults takes the place of its own settings.
        tokenizer: The tokenizer, read in the same way.
        device: What is computed on.

    Returns:
        The experiment that the classifier comes from, with the data, the tokenizer and the machine that are used
        instead of its own; the prepared corpus.

    Raises:
        InputError: The classifier's settings cannot be read.
    """
    own = trained_with(loaded.card)
    if not any((data.source, data.train, data.unlabeled, data.validation, data.test)):
        data, tokenizer = replace(own.data, **_given(data)), replace(own.tokenizer, **_given(tokenizer))
    elif tokenizer == TokenizerSettings():
        tokenizer = own.tokenizer
    return prepared(replace(own, data=data, tokenizer=tokenizer, trainer=TrainerSettings(**asdict(device))))


def _given(settings: DataSettings | TokenizerSettings) -> dict[str, Any]:
    """The settings that differ from their defaults."""
    defaults = asdict(type(settings)())
    return {name: value for name, value in asdict(settings).items() if value != defaults[name]}


def resume_point(output: Path, resume: bool) -> Path | None:
    """The newest intact checkpoint, None for a fresh start.

    Raises:
        InputError: There is none in the folder.
    """
    if not resume:
        return None
    checkpoint, damaged = newest_intact(output)
    if checkpoint is None:
        kind = f"intact checkpoint in {output} ({'; '.join(damaged)})" if damaged else f"checkpoint in {output}"
        raise InputError(f"--resume: no {kind}")
    if damaged and is_main():
        print(f"textadv: {'; '.join(damaged)}; going on from {checkpoint}", file=sys.stderr)
    return checkpoint
