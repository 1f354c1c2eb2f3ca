"""The rules of resuming: which checkpoint a run goes on from, and what must not have changed since."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from textadv.checkpoints.files import LAST, PREVIOUS
from textadv.errors import InputError
from textadv.settings import Experiment
from textadv.system.durable import open_intact
from textadv.system.ranges import CLASSIFIER_ONLY, FREE


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


def require_same_run(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Make sure that the run to go on with is this one.

    Args:
        before: Card of the checkpoint to go on from.
        now: Card of the run.

    Raises:
        InputError: It is another one.
    """
    try:
        changed = changed_settings(before, now)
    except (KeyError, TypeError, AttributeError):
        raise InputError("--resume: the checkpoint does not say what it is") from None
    if changed:
        raise InputError(f"--resume: the checkpoint is of a run with other settings: {', '.join(changed)}")


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
    training, free = ("finetuning", [FREE]) if now["kind"] == "classifier" else ("pretraining", [FREE, CLASSIFIER_ONLY])
    for section in (training, "data", "model"):
        default = getattr(Experiment(), section)
        earlier = asdict(default) | before["settings"][section]  # a setting that there was not yet had its default
        later = now["settings"][section]
        names += [f"{section}.{key}" for key in sorted(default.unmarked(*free)) if earlier[key] != later[key]]
    return names + (["seed"] if before["settings"]["seed"] != now["settings"]["seed"] else [])
