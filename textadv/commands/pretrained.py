"""The pretrained encoders that runs share: where they are kept, and their training."""

import hashlib
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

from textadv.checkpoints import LAST, model_card, newest_intact, require_same_run
from textadv.checkpoints.hugging_face import weights_checksum
from textadv.commands.folder import METRICS, run_folder
from textadv.commands.shared import resume_point
from textadv.corpus.store import TokenStore
from textadv.settings import Experiment, ModelSettings
from textadv.system.durable import is_intact, writing
from textadv.system.locks import lock
from textadv.system.processes import is_main
from textadv.system.ranges import CLASSIFIER_ONLY, FREE
from textadv.training import runs

CONTINUED = "continued"


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


def has_encoder(experiment: Experiment, store: TokenStore, pretrained: str | None) -> bool:
    """Whether nothing has to be pretrained first. See `pretrained_encoder`."""
    return not _is_shared(experiment.model, pretrained) or _is_complete(_pretrained_folder(experiment, store))


def pretrained_encoder(experiment: Experiment, store: TokenStore, pretrained: str | None = None) -> Path | None:
    """The checkpoint that fine-tuning starts from; None for none.

    Args:
        experiment: The settings.
        store: The prepared corpus.
        pretrained: A checkpoint, or `none`. None means, for LSTM and GRU, the shared encoder of these settings, which
            is trained, or its training finished, where it is missing or damaged. Other encoders come with their
            weights; of a Transformer, `continued` means the shared one.
    """
    if not _is_shared(experiment.model, pretrained):
        return None if pretrained in (None, "none") else Path(pretrained)
    folder = _pretrained_folder(experiment, store)
    if not _is_complete(folder):
        with _alone(experiment, folder):
            if not _is_complete(folder):  # somebody else may have trained it meanwhile
                _pretrain(experiment, store, folder, resume=newest_intact(folder)[0] is not None)
    return folder / LAST


def _is_shared(model: ModelSettings, pretrained: str | None) -> bool:
    """Whether fine-tuning starts from the shared encoder of its settings."""
    return pretrained == CONTINUED if model.is_transformer else model.is_recurrent and pretrained is None


def _pretrain(experiment: Experiment, store: TokenStore, folder: Path, resume: bool) -> None:
    settings = {name: value for name, value in asdict(experiment).items() if name != "finetuning"}  # which is not read
    last, card = resume_point(folder, resume)
    if last is not None:
        require_same_run(card, model_card("language_model", experiment, store))
    with run_folder("pretrain", str(folder), settings) as (output, metrics):
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
    model = experiment.model
    identity = {
        "store": store.fingerprint,
        "model": {name: value for name, value in model.unmarked(CLASSIFIER_ONLY).items() if value is not None},
        "pretraining": asdict(experiment.pretraining),
        "seed": experiment.seed,
        "precision": [experiment.trainer.precision, experiment.trainer.tf32],
        **experiment.data.unmarked(FREE, CLASSIFIER_ONLY),  # what the store does not say: nothing, so far
    }
    if model.pretrained is not None:
        identity["weights"] = weights_checksum(model.pretrained)  # a folder may come to hold others
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return Path(experiment.data.cache) / "pretrained" / name
