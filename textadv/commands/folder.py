"""The folder of a run. Without torch, which takes seconds to import: `prepare` does not need it."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from textadv.errors import InputError, Stopped
from textadv.system.durable import replace_text, writing
from textadv.system.processes import is_main, start_name
from textadv.system.versions import versions

METRICS, CONFIG = "metrics.json", "config.yaml"
SPEED = ("seconds", "tokens_per_second")


@contextmanager
def run_folder(
    command: str, path: str | None, settings: Mapping[str, Any], announce: bool = True
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A run's folder and its figures: writes the resolved config first, `metrics.json` at the end, says where.

    Of several processes only the main one writes and speaks.

    Args:
        command: Name of the command.
        path: The folder; None for a new one under `runs/`.
        settings: What goes into the config.
        announce: Say where the folder is.
    """
    output = Path(path or f"runs/{command}-{start_name()}")
    metrics: dict[str, Any] = {}
    if not is_main():
        yield output, metrics
        return
    try:
        if path:
            output.mkdir(parents=True, exist_ok=True)
        else:
            output = _new_folder(output)
        replace_text(output / CONFIG, yaml.safe_dump(dict(settings), sort_keys=False))
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror})") from None
    before = _read(output / METRICS)
    try:
        yield output, metrics
    except Stopped as stop:
        _say_how_to_go_on(stop, command, output)
        raise
    trained_nothing = metrics.get("tokens_per_second") == 0
    if trained_nothing and all(before.get(name) == metrics[name] for name in ("steps", "metrics")):
        # A complete run, which has been resumed.
        metrics |= {name: value for name, value in before.items() if name in SPEED or name not in metrics}
    report = metrics | {"command": command, "versions": versions()}
    with writing(output / METRICS):
        replace_text(output / METRICS, json.dumps(report, indent=2) + "\n")
    if announce:
        print(f"everything is in {output}", file=sys.stderr)


def _new_folder(path: Path) -> Path:
    """Make a folder for this run alone, with a number behind its name where there is one of that name already."""
    folder, number = path, 1
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            folder = path.with_name(f"{path.name}-{number}")
        else:
            return folder


def _read(path: Path) -> dict[str, Any]:
    """The figures in a file; none where it is missing or damaged."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _say_how_to_go_on(stop: Stopped, command: str, output: Path) -> None:
    """One line for a run that a signal has stopped, even if it was part of another one."""
    if stop.told:
        return
    way = ""
    if stop.checkpoint is not None and stop.checkpoint.parent == output:
        way = f"; `textadv {command} --resume --output {output}` with the same settings goes on from there"
    print(f"textadv: {stop}{way}", file=sys.stderr)
    stop.told = True
