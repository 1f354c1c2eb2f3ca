"""Checkpoints that carry all it takes to use them: weights, settings, tokenizer, class names."""

import io
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import torch
from torch import Tensor

from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.classifier import Classifier
from textadv.models.encoders import Encoder
from textadv.settings import Experiment, FinetuningSettings, ModelSettings
from textadv.system.durable import open_intact, write_file
from textadv.system.versions import versions

CARD = "textadv"
FORMAT = 2
PREFIX = "model."  # the attribute under which the Lightning modules keep their network
BEST, LAST = "best.ckpt", "last.ckpt"
PREVIOUS = "previous.ckpt"  # what `last.ckpt` was before
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # two letters at least, one is a Windows drive
# What may change between a run and its continuation, and what a language model does not depend on.
FREE = {"steps", "patience", "validate_every"}
CLASSIFIER_ONLY = {"pooling", "head_size", "head_activation"}


class LoadedClassifier(NamedTuple):
    """A classifier read back from its checkpoint."""

    classifier: Classifier  # in evaluation mode
    classes: tuple[str, ...]
    tokenizer_json: str
    card: dict[str, Any]


def model_card(kind: str, experiment: Experiment, store: TokenStore, **training: str | int | None) -> dict[str, Any]:
    """What a checkpoint says about itself, primitives only (`weights_only` loading refuses all else).

    Args:
        kind: `language_model` or `classifier`.
        experiment: The settings of the run.
        store: The prepared corpus it was trained on.
        training: What else there is to say about the run.

    Returns:
        The card.
    """
    settings = asdict(experiment)
    settings["tokenizer"] |= store.settings.get("tokenizer", {})  # a store that was given has its own
    return training | {
        "format": FORMAT,
        "kind": kind,
        "settings": settings,
        "classes": list(store.classes),
        "tokenizer": store.tokenizer_json,
        "tokenizer_fingerprint": store.tokenizer_fingerprint,
        "store_fingerprint": store.fingerprint,
        "vocabulary_size": store.vocabulary_size,
        "versions": versions(),
    }


def trained_with(card: dict[str, Any]) -> Experiment:
    """The experiment that a checkpoint comes from.

    Args:
        card: What the checkpoint says about itself.

    Returns:
        The experiment; a setting that there was not yet has its default.

    Raises:
        InputError: The card holds settings that there are not.
    """
    settings = card["settings"]
    try:
        sections = {name: type(value)(**settings[name]) for name, value in vars(Experiment()).items() if name != "seed"}
        return Experiment(**sections, seed=settings["seed"])
    except (KeyError, TypeError, InputError) as error:
        raise InputError(f"--checkpoint: was trained by another version of textadv ({error})") from None


def new_encoder(settings: ModelSettings, store: TokenStore) -> Encoder:
    """A fresh encoder of the given sizes for the vocabulary of a corpus."""
    return build_encoder(settings, torch.from_numpy(np.asarray(store.frequencies)))


def build_encoder(settings: ModelSettings, frequencies: Tensor) -> Encoder:
    """A fresh encoder of the given sizes for a vocabulary of given frequencies (V,)."""
    return Encoder(frequencies, settings.embedding_size, settings.hidden_size, settings.bidirectional)


def build_classifier(
    encoder: Encoder, model: ModelSettings, finetuning: FinetuningSettings, num_classes: int
) -> Classifier:
    """A classifier with a fresh head on an encoder."""
    return Classifier(
        encoder,
        num_classes,
        model.pooling,
        model.head_size,
        finetuning.window,
        finetuning.dropout,
        model.head_activation,
    )


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint file meant by a file or by the folder of a run.

    Raises:
        InputError: There is none.
    """
    if URL.match(str(path)):
        raise InputError(f"{path}: no such checkpoint: only files of this machine are read, no URLs")
    if path.is_dir():
        for name in (BEST, LAST):
            if (path / name).is_file():
                return path / name
        raise InputError(f"{path}: no checkpoint ({BEST} or {LAST}) in this folder")
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    return path


def write_checkpoint(path: Path, checkpoint: dict[str, Any], keep: Path | None = None) -> None:
    """Write a checkpoint so that a kill at any moment leaves an intact one, see `textadv.system.durable.write_file`.

    Args:
        path: The file.
        checkpoint: Tensors and primitives.
        keep: Where the checkpoint that is replaced goes.

    Raises:
        InputError: It cannot be written.
    """
    content = io.BytesIO()  # torch's own writer turns a full disk into an error without a reason
    torch.save(checkpoint, content)
    write_file(path, content.getbuffer(), keep)


def load_file(path: Path) -> dict[str, Any]:
    """Read tensors and primitives from a file, after its sum has been checked; no code in it runs.

    Raises:
        InputError: The file is damaged, or not such a file.
    """
    with open_intact(path) as file:
        try:
            _require_plain_archive(file)
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # there is hardly one that the unpickler cannot be made to raise
            raise InputError(f"{path}: damaged, or not a checkpoint of textadv") from None
    return content


def _require_plain_archive(file: BinaryIO) -> None:
    """Refuse all but what `torch.save` writes: an archive without compression unpacks to no more than its size."""
    with ZipFile(file) as archive:
        members = archive.infolist()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if any(m.compress_type != ZIP_STORED for m in members) or sum(m.file_size for m in members) > size:
        raise ValueError("unpacks to more than its size")


def newest_intact(folder: Path) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from, and why newer ones were passed over.

    Args:
        folder: The folder of a run.

    Returns:
        The file, None where there is no intact one; a line for each damaged one that is newer.
    """
    damaged: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if path.exists() or path.is_symlink():
            try:
                with open_intact(path):
                    return path, damaged
            except InputError as error:
                damaged.append(str(error))
    return None, damaged


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What keeps a run from being the continuation of another one.

    Args:
        before: Card of the checkpoint to go on from.
        now: Card of the run.

    Returns:
        Names of what is different.
    """
    if before["kind"] != now["kind"]:
        return ["kind"]
    names = [name for name in ("store_fingerprint", "tokenizer_fingerprint") if before[name] != now[name]]
    old, new, default = before["settings"], now["settings"], asdict(Experiment())
    if now["kind"] == "classifier":
        relevant = {"finetuning": set(new["finetuning"]) - FREE, "data": {"labels_per_class", "seed"}}
        relevant["model"] = set(new["model"])
    else:
        relevant = {"pretraining": set(new["pretraining"]) - FREE, "model": set(new["model"]) - CLASSIFIER_ONLY}
    for section, keys in relevant.items():
        earlier = default[section] | old[section]  # a setting that there was not yet had its default
        names += [f"{section}.{key}" for key in sorted(keys) if earlier[key] != new[section][key]]
    return names + (["seed"] if old["seed"] != new["seed"] else [])


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
    checkpoint = load_file(path)
    try:
        found, version = checkpoint[CARD]["kind"], checkpoint[CARD]["format"]
    except Exception:
        raise InputError(f"{path}: not a checkpoint of textadv") from None
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
    """Read a classifier back, ready for evaluation: gradients reach whole documents, as attacks need.

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
        trained = card["settings"]["finetuning"]
        finetuning = FinetuningSettings(window=trained["window"], dropout=trained["dropout"])
        encoder = build_encoder(model, torch.ones(card["vocabulary_size"]))
        classifier = build_classifier(encoder, model, finetuning, len(card["classes"]))
        classifier.load_state_dict(network_weights(checkpoint), strict=True)
        classifier.window = None  # that of the settings is for training; attacks reach all that is read
        card = card | {"step": checkpoint["global_step"]}
        return LoadedClassifier(classifier.eval(), tuple(card["classes"]), card["tokenizer"], card)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: its card and its weights do not describe a classifier: {reason}") from None
