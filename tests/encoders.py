"""Every encoder in small, for the tests that hold for all of them."""

import importlib.util
import runpy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from textadv.models.encoders import NUM_SPECIAL, Encoder
from textadv.models.factory import build_encoder, build_transformer
from textadv.models.transformer import Pooling
from textadv.settings import ModelSettings

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_encoder.py"
OWN = "convolutions"  # the encoder of that example
IN_WINDOWS = "bert, in windows"  # of 5 tokens
RECURRENT = ("lstm", "lstm, both directions", "gru", "gru, both directions")
TRANSFORMERS: tuple[str, ...] = ()  # every architecture, and one in windows, where the extra is installed
if importlib.util.find_spec("transformers") is not None:
    from tiny_transformers import ARCHITECTURES, CLS, PAD, SEP, tiny

    TRANSFORMERS = (*ARCHITECTURES, IN_WINDOWS)
ONE_OF_EACH = (*RECURRENT, OWN, *TRANSFORMERS[:1])
ALL = (*RECURRENT, OWN, *TRANSFORMERS)


class SpecialTokens(NamedTuple):
    """What stands around the words of a document, and behind it."""

    first: int | None
    last: int
    padding: int


def special_tokens(name: str) -> SpecialTokens:
    return SpecialTokens(CLS, SEP, PAD) if name in TRANSFORMERS else SpecialTokens(None, 2, 0)


def model_settings(name: str) -> ModelSettings:
    """Tiny sizes of an encoder that is not pretrained; those of `OWN` under the name of another, as it is unknown."""
    kind, _, directions = ("lstm" if name == OWN else name).partition(", ")
    return ModelSettings(kind, None, 5, 6, bool(directions), "last_mean_max", head_size=8)


def make_encoder(name: str, frequencies: Tensor, dropout: float = 0.0, pooling: Pooling = "mean") -> Encoder:
    """An encoder in training mode whose outputs are far from linear in its embeddings, so that mistakes show.

    Args:
        name: One of `ALL`.
        frequencies: Counts of the vocabulary entries, (V,).
        dropout: Of the embeddings; a Transformer has its own.
        pooling: Of a Transformer.
    """
    torch.manual_seed(3)
    if name in TRANSFORMERS:
        model = ModelSettings("transformer", "a tiny one", pooling=pooling, windows=name == IN_WINDOWS)
        body = tiny(name.partition(", ")[0], vocab_size=len(frequencies))
        if name == IN_WINDOWS:
            body.config.max_position_embeddings = 5  # it has more
        return build_transformer(model, body, frequencies, [PAD, CLS, SEP])
    if name == OWN:
        own: Encoder = runpy.run_path(str(EXAMPLE))["Convolutions"](model_settings(name), frequencies, dropout)
        return own
    encoder = build_encoder(model_settings(name), frequencies, dropout)
    with torch.no_grad():
        for parameter in encoder.directions.parameters():
            parameter.mul_(2.0)
    return encoder


def documents(name: str, lengths: Tensor, vocabulary: int, extra: int = 0) -> Tensor:
    """Documents of random words between special tokens as an encoder's tokenizer has them.

    Args:
        name: One of `ALL`.
        lengths: Tokens of each document, (B,).
        vocabulary: Number of token ids.
        extra: Places of padding behind the longest document.
    """
    special, generator = special_tokens(name), torch.Generator().manual_seed(5)
    lowest = max(NUM_SPECIAL, special.last + 1)
    tokens = torch.randint(lowest, vocabulary, (len(lengths), int(lengths.max()) + extra), generator=generator)
    if special.first is not None:
        tokens[:, 0] = special.first
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        row[length - 1], row[length:] = special.last, special.padding
    return tokens
