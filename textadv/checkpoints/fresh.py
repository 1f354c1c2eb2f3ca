"""Encoders without pretrained weights, by their settings: the project's own, and those of others."""

import torch
from torch import Tensor

from textadv.errors import InputError, one_line
from textadv.models.encoders import Encoder
from textadv.models.factory import build_encoder
from textadv.settings import ModelSettings
from textadv.system.own_encoders import find_encoder


def fresh_encoder(model: ModelSettings, frequencies: Tensor, dropout: float, window: int | None = None) -> Encoder:
    """An encoder of its factory's initial weights; no Transformer.

    Args:
        model: Kind and sizes.
        frequencies: Counts of the vocabulary entries, shape (V,).
        dropout: Dropout of the embeddings in training.
        window: Tokens of each document that gradients reach, of an LSTM or a GRU; None for all.

    Raises:
        InputError: There is no such encoder, or what its factory builds is none.
    """
    if model.is_recurrent:
        return build_encoder(model, frequencies, dropout, window)
    factory = find_encoder(model.encoder)
    try:
        encoder = factory(model, frequencies, dropout)
    except Exception as error:  # whatever others' code raises; of an abstract class, which methods it lacks
        reason = one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"--model.encoder {model.encoder}: cannot be built: {reason}") from error
    if not isinstance(encoder, Encoder):
        kind = type(encoder).__name__
        raise InputError(f"--model.encoder {model.encoder}: is a {kind}, not a textadv.models.encoders.Encoder")
    is_special = getattr(encoder, "is_special", None)
    if not isinstance(is_special, Tensor) or is_special.shape != (len(frequencies),) or is_special.dtype != torch.bool:
        raise InputError(
            f"--model.encoder {model.encoder}: its is_special must be a bool for each of {len(frequencies)} ids"
        )
    return encoder
