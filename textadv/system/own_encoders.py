"""Encoders that others have written, by name: of installed packages, or registered by a program."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from textadv.errors import InputError, one_line

GROUP = "textadv.encoders"
BUILT_IN = ("lstm", "gru", "transformer")

# Takes model settings, frequencies of the vocabulary (V,), and dropout; gives an `Encoder`.
Factory = Callable[..., Any]
_registered: dict[str, Factory] = {}


def register_encoder(name: str, factory: Factory) -> None:
    """Let `--model.encoder` and `ModelSettings` know an encoder by a name, in this process.

    An installed package needs no such call, but an entry point in the group `textadv.encoders`.

    Args:
        name: The name.
        factory: An encoder's class, or a function that builds one. It is called with the model's settings
            (`textadv.settings.ModelSettings`), the frequencies of the vocabulary, shape (V,), and the dropout, and
            returns a `textadv.models.encoders.Encoder`.

    Raises:
        InputError: An encoder of textadv has that name.
    """
    if name in BUILT_IN:
        raise InputError(f"register_encoder: {name} is an encoder of textadv")
    _registered[name] = factory


def require_encoder(name: str) -> None:
    """Refuse a name that no encoder has; nothing is imported.

    Raises:
        InputError: The message lists what there is.
    """
    if name not in BUILT_IN and name not in (names := _names()):
        own = ", ".join(names) or "none; one of your own needs its package"
        there_are = f"{', '.join(BUILT_IN)}; installed (entry points {GROUP}): {own}"
        raise InputError(f"--model.encoder {name}: there is no such encoder, but {there_are}")


def find_encoder(name: str) -> Factory:
    """What builds the encoder of a name.

    Raises:
        InputError: There is no such encoder, or it cannot be imported.
    """
    require_encoder(name)
    if name in _registered:
        return _registered[name]
    (entry, *_) = entry_points(group=GROUP, name=name)
    try:
        factory: Factory = entry.load()
    except Exception as error:  # whatever others' code raises
        reason = one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"--model.encoder {name}: {entry.value} cannot be imported: {reason}") from error
    return factory


def _names() -> list[str]:
    return sorted({*_registered, *entry_points(group=GROUP).names})
