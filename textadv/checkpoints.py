"""Checkpoints that carry all it takes to use them: weights, settings, tokenizer, class names."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.classifier import Classifier
from textadv.models.encoders import Encoder
from textadv.settings import Experiment, FinetuningSettings, ModelSettings

CARD = "textadv"
FORMAT = 1
PREFIX = "model."  # the attribute under which the Lightning modules keep their network
BEST, LAST = "best.ckpt", "last.ckpt"


class LoadedClassifier(NamedTuple):
    """A classifier read back from its checkpoint."""

    classifier: Classifier  # in evaluation mode
    classes: tuple[str, ...]
    tokenizer_json: str
    card: dict[str, Any]


def model_card(kind: str, experiment: Experiment, store: TokenStore) -> dict[str, Any]:
    """What a checkpoint says about itself, primitives only (`weights_only` loading refuses all else).

    Args:
        kind: `language_model` or `classifier`.
        experiment: The settings of the run.
        store: The prepared corpus it was trained on.

    Returns:
        The card.
    """
    return {
        "format": FORMAT,
        "kind": kind,
        "settings": asdict(experiment),
        "classes": list(store.classes),
        "tokenizer": store.tokenizer_json,
        "tokenizer_fingerprint": store.tokenizer_fingerprint,
        "store_fingerprint": store.fingerprint,
        "vocabulary_size": store.vocabulary_size,
    }


def build_encoder(settings: ModelSettings, frequencies: Tensor) -> Encoder:
    """A fresh encoder of the given sizes."""
    return Encoder(frequencies, settings.embedding_size, settings.hidden_size, settings.bidirectional)


def build_classifier(
    encoder: Encoder, model: ModelSettings, finetuning: FinetuningSettings, num_classes: int
) -> Classifier:
    """A classifier with a fresh head on an encoder."""
    return Classifier(
        encoder, num_classes, model.pooling, model.head_size, window=finetuning.window, dropout=finetuning.dropout
    )


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint file meant by a file or by the folder of a run.

    Raises:
        InputError: There is none.
    """
    if path.is_dir():
        for name in (BEST, LAST):
            if (path / name).is_file():
                return path / name
        raise InputError(f"{path}: no checkpoint ({BEST} or {LAST}) in this folder")
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    return path


def read_checkpoint(path: Path, kind: str) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Args:
        path: The file, or the folder of a run.
        kind: The kind the card must name.

    Returns:
        The checkpoint, its card under `CARD`.

    Raises:
        InputError: The file is missing, damaged, or of another kind.
    """
    path = resolve_checkpoint(path)
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found, version = checkpoint[CARD]["kind"], checkpoint[CARD]["format"]
    except Exception:  # there is hardly one that the unpickler cannot be made to raise
        raise InputError(f"{path}: damaged, or not a checkpoint of textadv") from None
    if version != FORMAT:
        raise InputError(f"{path}: a checkpoint of format {version}, but {FORMAT} is read here")
    if found != kind:
        raise InputError(f"{path}: this is a {found} checkpoint, a {kind} is needed")
    return checkpoint


def network_weights(checkpoint: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """Weights of the network, or of the part of it whose names start with `prefix`, by their names in it."""
    start = PREFIX + prefix
    return {name[len(start) :]: value for name, value in checkpoint["state_dict"].items() if name.startswith(start)}


def load_encoder(encoder: Encoder, path: Path, tokenizer_fingerprint: str) -> None:
    """Copy pretrained weights into an encoder, every name and shape checked.

    Args:
        encoder: The encoder to fill.
        path: Checkpoint of a language model, or its folder.
        tokenizer_fingerprint: The tokenizer the encoder will be used with.

    Raises:
        InputError: Another tokenizer or other sizes.
    """
    checkpoint = read_checkpoint(path, "language_model")
    if checkpoint[CARD]["tokenizer_fingerprint"] != tokenizer_fingerprint:
        raise InputError(f"{path}: was pretrained with another tokenizer than that of the prepared corpus")
    try:
        encoder.load_state_dict(network_weights(checkpoint, "encoder."), strict=True)
    except RuntimeError:
        raise InputError(f"{path}: its sizes are not those of --model (embedding, hidden, bidirectional)") from None


def load_classifier(path: Path) -> LoadedClassifier:
    """Read a classifier back, ready for evaluation.

    Args:
        path: Checkpoint of a classifier, or the folder of its run.

    Returns:
        The classifier with its class names and tokenizer.

    Raises:
        InputError: The file is missing, damaged, or no classifier.
    """
    checkpoint = read_checkpoint(path, "classifier")
    card = checkpoint[CARD]
    try:
        model = ModelSettings(**card["settings"]["model"])
        finetuning = FinetuningSettings(**card["settings"]["finetuning"])
        encoder = build_encoder(model, torch.ones(card["vocabulary_size"]))
        classifier = build_classifier(encoder, model, finetuning, len(card["classes"]))
        classifier.load_state_dict(network_weights(checkpoint), strict=True)
        return LoadedClassifier(classifier.eval(), tuple(card["classes"]), card["tokenizer"], card)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: its card and its weights do not describe a classifier: {reason}") from None
