"""The card: what a checkpoint says about itself."""

from dataclasses import asdict
from typing import Any

from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import Experiment
from textadv.system.versions import versions

CARD = "textadv"
FORMAT = 2


def model_card(kind: str, experiment: Experiment, store: TokenStore, **training: Any) -> dict[str, Any]:
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
