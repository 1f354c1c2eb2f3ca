"""What several commands need: the corpus, and the checkpoint to go on from."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from textadv.checkpoints import CARD, LoadedClassifier, load_file, newest_intact, trained_with
from textadv.checkpoints.hugging_face import pretrained_folder
from textadv.corpus.preparation import has_store, prepare
from textadv.corpus.pretrained_tokenizer import read_tokenizer
from textadv.corpus.store import TokenStore
from textadv.corpus.tokenization import TextTokenizer
from textadv.errors import InputError
from textadv.settings import (
    DataSettings,
    DeviceSettings,
    EncoderSettings,
    Experiment,
    TokenizerSettings,
    TrainerSettings,
)
from textadv.system.processes import is_main


def prepared(experiment: Experiment, pretrained: TextTokenizer | None = None) -> tuple[Experiment, TokenStore]:
    """The experiment with the tokenizer that its corpus has, for a store that is given has its own, and the corpus.

    Args:
        experiment: The settings.
        pretrained: The tokenizer of the pretrained encoder; read from its folder if None.

    Raises:
        InputError: The corpus cannot be prepared, or a store that is given has another tokenizer than the encoder.
    """
    own = pretrained or encoder_tokenizer(experiment.model, experiment.tokenizer)
    store = prepare(experiment.data, experiment.tokenizer, own)
    tokenizer = TokenizerSettings(**asdict(experiment.tokenizer) | store.settings["tokenizer"])
    if own is not None and tokenizer != experiment.tokenizer:
        own = encoder_tokenizer(experiment.model, tokenizer)
    if store.tokenizer_json != own.to_json() if own is not None else "truncation" in store.settings["tokenizer"]:
        raise InputError(f"{store.path}: was prepared with another tokenizer than that of --model.encoder")
    return replace(experiment, tokenizer=tokenizer), store


def is_prepared(experiment: Experiment) -> bool:
    """Whether the corpus is there as a store, so that no text has to be read.

    Raises:
        InputError: The source cannot be found.
    """
    own = encoder_tokenizer(experiment.model, experiment.tokenizer)
    return has_store(experiment.data, experiment.tokenizer, own)


def encoder_tokenizer(model: EncoderSettings, tokenizer: TokenizerSettings) -> TextTokenizer | None:
    """The tokenizer of a pretrained encoder; None for an encoder whose tokenizer is trained on the corpus."""
    if model.pretrained is None:
        return None
    return read_tokenizer(pretrained_folder(model.pretrained), tokenizer.max_tokens, tokenizer.truncation)


def require_language_model(model: EncoderSettings, command: str) -> None:
    """Refuse an encoder that no language model pretrains.

    Raises:
        InputError: It is a Transformer, or an encoder of others.
    """
    if not model.is_recurrent:
        raise InputError(f"--model.encoder {model.encoder}: {command} trains a language model of lstm or gru")


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
    pretrained = None
    if own.model.is_transformer:
        tokenizer = _require_own_cutting(tokenizer, own.tokenizer)
        pretrained = TextTokenizer.from_json(loaded.tokenizer_json)
    used = replace(own, data=data, tokenizer=tokenizer, trainer=TrainerSettings(**asdict(device)))
    return prepared(used, pretrained)


def _require_own_cutting(given: TokenizerSettings, own: TokenizerSettings) -> TokenizerSettings:
    """The tokenizer of a Transformer's classifier, which cuts its texts as it was trained on them.

    Raises:
        InputError: Texts are to be cut in another way, in which `predict` would not read them.
    """
    for name in ("max_tokens", "truncation"):
        value, trained = getattr(given, name), getattr(own, name)
        if value not in (trained, getattr(TokenizerSettings(), name)):
            raise InputError(f"--tokenizer.{name} {value}: the classifier was trained with {trained} and keeps to it")
    return own


def _given(settings: DataSettings | TokenizerSettings) -> dict[str, Any]:
    """The settings that differ from their defaults."""
    defaults = asdict(type(settings)())
    return {name: value for name, value in asdict(settings).items() if value != defaults[name]}


def resume_point(output: Path, resume: bool) -> tuple[Path | None, dict[str, Any]]:
    """The newest intact checkpoint and what it says about itself; None and nothing for a fresh start.

    Raises:
        InputError: There is none in the folder.
    """
    if not resume:
        return None, {}
    checkpoint, damaged = newest_intact(output)
    if checkpoint is None:
        kind = f"intact checkpoint in {output} ({'; '.join(damaged)})" if damaged else f"checkpoint in {output}"
        raise InputError(f"--resume: no {kind}")
    if damaged and is_main():
        print(f"textadv: {'; '.join(damaged)}; going on from {checkpoint}", file=sys.stderr)
    return checkpoint, load_file(checkpoint).get(CARD, {})
