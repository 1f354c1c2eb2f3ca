"""The networks that checkpoints hold."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from textadv.checkpoints.card import CARD
from textadv.checkpoints.files import read_checkpoint
from textadv.checkpoints.fresh import fresh_encoder
from textadv.checkpoints.hugging_face import body_from_config
from textadv.checkpoints.model_folder import PREFIX, write_model_folder
from textadv.errors import InputError, reason_of
from textadv.models.classifier import Classifier
from textadv.models.encoders import Encoder
from textadv.models.factory import build_classifier, build_transformer
from textadv.settings import ModelSettings


class LoadedClassifier(NamedTuple):
    """A classifier read back from its checkpoint."""

    classifier: Classifier  # in evaluation mode
    classes: tuple[str, ...]
    tokenizer_json: str
    card: dict[str, Any]

    @property
    def temperature(self) -> float:
        """By which its logits are divided to become probabilities; 1 where none was fitted."""
        return float(self.card.get("temperature", 1.0))


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
        raise InputError(
            f"{path}: its sizes are not those of --model (encoder, pretrained, embedding, hidden, bidirectional)"
        ) from None


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
        frequencies = torch.ones(card["vocabulary_size"])  # the checkpoint has the real ones
        encoder: Encoder
        if model.is_transformer:
            encoder = build_transformer(model, body_from_config(card["body"]), frequencies, [])
        else:
            encoder = fresh_encoder(model, frequencies, card["settings"]["finetuning"]["dropout"])
        classifier = build_classifier(model, encoder, len(card["classes"]))
        classifier.load_state_dict(network_weights(checkpoint), strict=True)
        card = card | {"step": checkpoint["global_step"]}
        if not 0 < card.get("temperature", 1.0) < math.inf:
            raise TypeError(f"temperature {card['temperature']}")
        return LoadedClassifier(classifier.eval(), tuple(card["classes"]), card["tokenizer"], card)
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError) as error:
        reason = reason_of(error)
        raise InputError(f"{path}: its card and its weights do not describe a classifier: {reason}") from None


def save_classifier(folder: Path, loaded: LoadedClassifier) -> None:
    """Write a classifier as a folder of safetensors, JSON and a model card, which `load_classifier` reads as well.

    Args:
        folder: The folder; other files in it stay.
        loaded: The classifier. Of its card, `corpus` and `figures` are shown on the model card.

    Raises:
        InputError: A file cannot be written.
    """
    write_model_folder(folder, loaded.classifier.state_dict(), loaded.card)
