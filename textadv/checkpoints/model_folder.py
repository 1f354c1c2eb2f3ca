"""A classifier as the folder that people expect: safetensors, JSON and a model card, and the sums of what is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from textadv.checkpoints.card import CARD
from textadv.checkpoints.readme import is_own_readme, readme
from textadv.errors import InputError
from textadv.system.durable import writing
from textadv.system.summed import SUMS, read_summed, write_summed

WEIGHTS, CONFIG, TOKENIZER, README = "model.safetensors", "config.json", "tokenizer.json", "README.md"
PREFIX = "model."  # the attribute under which the Lightning modules keep their network
MODEL_TYPE = "textadv"


def write_model_folder(folder: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write a classifier; the sums come last, so that a folder that is half new is refused.

    A `README.md` that is not a model card of textadv stays as it is.

    `tokenizer.json` is what the `tokenizers` library reads. What textadv does besides that stands in `config.json`.

    Args:
        folder: The folder; other files in it stay.
        weights: Of the network, by their names in it.
        card: What the classifier says about itself, with the step it comes from.

    Raises:
        InputError: A file cannot be written.
    """
    rules = json.loads(card["tokenizer"])
    tokenizer = rules.pop("tokenizer")
    config = {"model_type": MODEL_TYPE, **card, "tokenizer": rules}
    files = {
        WEIGHTS: save({name: value.detach().cpu().contiguous() for name, value in weights.items()}, {"format": "pt"}),
        CONFIG: _json(config),
        TOKENIZER: _json(tokenizer),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        beside = {README: readme(card).encode("utf-8", "replace")} if is_own_readme(folder / README) else {}
    write_summed(folder, files, beside)


def remove_weights(folder: Path) -> None:
    """Remove what an earlier run has left: it would be taken for the result of the one that begins."""
    for name in (SUMS, WEIGHTS):
        (folder / name).unlink(missing_ok=True)


def read_model_folder(folder: Path) -> dict[str, Any]:
    """Read what `write_model_folder` has written, without running any code in it.

    Args:
        folder: The folder.

    Returns:
        Weights, step and card, arranged as in a checkpoint.

    Raises:
        InputError: A file is missing, damaged, or not of textadv.
    """
    files = read_summed(folder, (WEIGHTS, CONFIG, TOKENIZER))
    try:
        card = json.loads(files[CONFIG])
        if card.pop("model_type") != MODEL_TYPE:
            raise ValueError("another model type")
        tokenizer = card["tokenizer"] | {"tokenizer": json.loads(files[TOKENIZER])}
        card["tokenizer"] = json.dumps(tokenizer, ensure_ascii=False)
        weights = {PREFIX + name: value for name, value in load(files[WEIGHTS]).items()}
        return {"state_dict": weights, "global_step": card.pop("step"), CARD: card}
    except Exception:  # SafetensorError, KeyError, RecursionError and others
        raise InputError(f"{folder}: not a classifier of textadv") from None


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
