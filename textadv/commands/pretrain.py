"""`pretrain`: the language model."""

import hashlib
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from textadv.checkpoints import LAST, newest_intact
from textadv.commands.folder import METRICS, run_folder
from textadv.commands.shared import prepared, resume_point
from textadv.corpus.store import TokenStore
from textadv.settings import CLASSIFIER_ONLY, Experiment, Options, unmarked
from textadv.system.durable import is_intact, writing
from textadv.system.locks import lock
from textadv.system.processes import is_main
from textadv.training import runs


def run(experiment: Experiment, options: Options) -> None:
    """Train the language model, by default where `finetune` looks for it."""
    experiment, store = prepared(experiment)
    shared = _pretrained_folder(experiment, store)
    if options.output is None:
        options = replace(options, output=str(shared))
    if Path(str(options.output)).resolve() != shared.resolve():
        _pretrain(experiment, store, options)
        return
    was_complete = _is_complete(shared)
    with _alone(experiment, shared):
        if was_complete or not _is_complete(shared):
            _pretrain(experiment, store, options)
        else:
            print(f"another process has trained it meanwhile: {shared}", file=sys.stderr)


def pretrained_encoder(experiment: Experiment, store: TokenStore) -> Path:
    """The encoder of these settings; trained, or its training finished, where that is missing or damaged."""
    folder = _pretrained_folder(experiment, store)
    if not _is_complete(folder):
        with _alone(experiment, folder):
            if not _is_complete(folder):  # somebody else may have trained it meanwhile
                resume = newest_intact(folder)[0] is not None
                _pretrain(experiment, store, Options(output=str(folder), resume=resume))
    return folder / LAST


def _pretrain(experiment: Experiment, store: TokenStore, options: Options) -> None:
    with run_folder("pretrain", experiment, options) as (output, metrics):
        resume = resume_point(output, options.resume)
        if is_main():  # until this run has ended, its checkpoints are not those that were measured
            (output / METRICS).unlink(missing_ok=True)
        metrics |= runs.pretrain(experiment, store, output, resume)


def _is_complete(folder: Path) -> bool:
    return (folder / METRICS).is_file() and is_intact(folder / LAST)


def _alone(experiment: Experiment, folder: Path) -> AbstractContextManager[object]:
    """While this run trains an encoder, no other one does; of several processes the main one sees to that."""
    if not is_main():
        return nullcontext()
    several = experiment.trainer.devices * experiment.trainer.num_nodes > 1  # the others would not know of the wait
    path = Path(experiment.data.cache) / "locks" / folder.name
    with writing(path):
        return lock(path, f"pretrains the same encoder in {folder}", wait=not several)


def _pretrained_folder(experiment: Experiment, store: TokenStore) -> Path:
    """Where the encoder of these settings is kept: named by all that its weights depend on."""
    identity = {
        "store": store.fingerprint,
        "model": unmarked(experiment.model, CLASSIFIER_ONLY),
        "pretraining": unmarked(experiment.pretraining),
        "seed": experiment.seed,
        "precision": experiment.trainer.precision,
    }
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return Path(experiment.data.cache) / "pretrained" / name
