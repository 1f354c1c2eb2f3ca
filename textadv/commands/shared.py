"""What several commands need: the run's folder, the device, checks of what was given."""

import json
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

import textadv
from textadv.checkpoints import LoadedClassifier, newest_intact
from textadv.corpus.preparation import prepare
from textadv.corpus.store import TokenStore
from textadv.durable import replace_text, writing
from textadv.errors import InputError, Stopped
from textadv.processes import is_main, start_time
from textadv.settings import DataSettings, Experiment, Options, TokenizerSettings

METRICS, CONFIG = "metrics.json", "config.yaml"


@contextmanager
def run_folder(command: str, experiment: Experiment, options: Options) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A run's folder and its figures: writes the resolved config first, `metrics.json` at the end, says where.

    Of several processes only the main one writes and speaks.
    """
    output = Path(options.output or f"runs/{command}-{start_time()}")
    metrics: dict[str, Any] = {}
    if not is_main():
        yield output, metrics
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        replace_text(output / CONFIG, yaml.safe_dump(asdict(experiment), sort_keys=False))
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror})") from None
    try:
        yield output, metrics
    except Stopped as stop:
        _say_how_to_go_on(stop, command, output)
        raise
    report = metrics | {"command": command, "versions": _versions()}
    with writing(output / METRICS):
        replace_text(output / METRICS, json.dumps(report, indent=2) + "\n")
    print(f"everything is in {output}", file=sys.stderr)


def _say_how_to_go_on(stop: Stopped, command: str, output: Path) -> None:
    """One line for a run that a signal has stopped, even if it was part of another one."""
    if stop.told:
        return
    way = ""
    if stop.checkpoint is not None and stop.checkpoint.parent == output:
        way = f"; `textadv {command} --resume --output {output}` with the same settings goes on from there"
    print(f"textadv: {stop}{way}", file=sys.stderr)
    stop.told = True


def device() -> str:
    """`cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def given(path: str | None, flag: str) -> Path:
    """A path that must be there.

    Raises:
        InputError: It is not.
    """
    if path is None:
        raise InputError(f"{flag} is needed")
    return Path(path)


def require_split(store: TokenStore, split: str) -> None:
    """Refuse a corpus without documents in a split.

    Raises:
        InputError: There are none.
    """
    if not len(store.splits[split]):
        raise InputError(f"the corpus has no {split} split")


def own_corpus(loaded: LoadedClassifier, experiment: Experiment) -> TokenStore:
    """The corpus that is named, or else that which the classifier was trained on."""
    data, tokenizer = experiment.data, experiment.tokenizer
    if data.source is None and data.train is None:
        own = loaded.card["settings"]
        data, tokenizer = DataSettings(**own["data"]), TokenizerSettings(**own["tokenizer"])
    return prepare(data, tokenizer)


def resume_point(output: Path, resume: bool) -> Path | None:
    """The newest intact checkpoint, None for a fresh start.

    Raises:
        InputError: There is none in the folder.
    """
    if not resume:
        return None
    checkpoint, damaged = newest_intact(output)
    if checkpoint is None:
        kind = f"intact checkpoint in {output} ({'; '.join(damaged)})" if damaged else f"checkpoint in {output}"
        raise InputError(f"--resume: no {kind}")
    if damaged and is_main():
        print(f"textadv: {'; '.join(damaged)}; going on from {checkpoint}", file=sys.stderr)
    return checkpoint


def _versions() -> dict[str, str]:
    return {
        "textadv": textadv.__version__,
        "torch": torch.__version__,
        "pytorch-lightning": version("pytorch-lightning"),
        "python": platform.python_version(),
    }
