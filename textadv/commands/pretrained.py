"""The pretrained encoders that runs share: where they are kept, and their training."""

import hashlib
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

from textadv.checkpoints import LAST, newest_intact
from textadv.commands.folder import METRICS, run_folder
from textadv.commands.shared import resume_point
from textadv.corpus.store import TokenStore
from textadv.settings import Experiment
from textadv.system.durable import is_intact, writing
from textadv.system.locks import lock
from textadv.system.processes import is_main
from textadv.system.ranges import CLASSIFIER_ONLY, FREE
from textadv.training import runs


def pretrain_encoder(experiment: Experiment, store: TokenStore, output: str | None, resume: bool) -> None:
    """Train the language model; in the shared folder, which is the default, no two runs train it at once.

    Args:
        experiment: The settings.
        store: The prepared corpus.
        output: Folder of the run; None for the shared one.
        resume: Go on from the last checkpoint in the folder.
    """
    shared = _pretrained_folder(experiment, store)
    folder = shared if output is None else Path(output)
    if folder.resolve() != shared.resolve():
        _pretrain(experiment, store, folder, resume)
        return
    was_complete = _is_complete(shared)
    with _alone(experiment, shared):
        if was_complete or not _is_complete(shared):
            _pretrain(experiment, store, folder, resume)
        else:
            print(f"another process has trained it meanwhile: {shared}", file=sys.stderr)


def has_encoder(experiment: Experiment, store: TokenStore) -> bool:
    """Whether the encoder of these settings is there; a Transformer is pretrained already."""
    return experiment.model.is_transformer or _is_complete(_pretrained_folder(experiment, store))


def pretrained_encoder(experiment: Experiment, store: TokenStore) -> Path | None:
    """The encoder of these settings; trained, or its training finished, where that is missing or damaged.

    None for a Transformer, which is pretrained already.
    """
    if experiment.model.is_transformer:
        return None
    folder = _pretrained_folder(experiment, store)
    if not _is_complete(folder):
        with _alone(experiment, folder):
            if not _is_complete(folder):  # somebody else may have trained it meanwhile
                _pretrain(experiment, store, folder, resume=newest_intact(folder)[0] is not None)
    return folder / LAST


def _pretrain(experiment: Experiment, store: TokenStore, folder: Path, resume: bool) -> None:
    settings = {name: value for name, value in asdict(experiment).items() if name != "finetuning"}  # which is not read
    with run_folder("pretrain", str(folder), settings) as (output, metrics):
        last = resume_point(output, resume)
        if is_main():  # until this run has ended, its checkpoints are not those that were measured
            (output / METRICS).unlink(missing_ok=True)
        metrics |= runs.pretrain(experiment, store, output, last)


def _is_complete(folder: Path) -> bool:
    return (folder / METRICS).is_file() and is_intact(folder / LAST)


def _alone(experiment: Experiment, folder: Path) -> AbstractContextManager[object]:
    """While this run trains an encoder, no other one does; of several processes the main one sees to that."""
    if not is_main():
        return nullcontext()
    several = experiment.trainer.devices * experiment.trainer.num_nodes > 1  # the others would not know of the wait
    path = Path(experiment.data.cache) / "locks" / folder.name
    with writing(path):
        return lock(path, f"pretrains the same encoder in {folder}", wait=not several) or nullcontext()


def _pretrained_folder(experiment: Experiment, store: TokenStore) -> Path:
    """Where the encoder of these settings is kept: named by all that its weights depend on."""
    identity = {
        "store": store.fingerprint,
        "model": experiment.model.unmarked(CLASSIFIER_ONLY),
        "pretraining": asdict(experiment.pretraining),
        "seed": experiment.seed,
        "precision": [experiment.trainer.precision, experiment.trainer.tf32],
        **experiment.data.unmarked(FREE, CLASSIFIER_ONLY),  # what the store does not say: nothing, so far
    }
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return Path(experiment.data.cache) / "pretrained" / name
