"""`pretrain`: the language model."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from textadv.checkpoints import LAST, newest_intact
from textadv.commands.shared import METRICS, resume_point, run_folder
from textadv.corpus.preparation import prepare
from textadv.corpus.store import TokenStore
from textadv.durable import is_intact
from textadv.settings import Experiment, Options
from textadv.training import runs


def run(experiment: Experiment, options: Options) -> None:
    """Train the language model, by default where `finetune` looks for it."""
    store = prepare(experiment.data, experiment.tokenizer)
    if options.output is None:
        options = replace(options, output=str(_pretrained_folder(experiment, store)))
    with run_folder("pretrain", experiment, options) as (output, metrics):
        metrics |= runs.pretrain(experiment, store, output, resume_point(output, options.resume))


def pretrained_encoder(experiment: Experiment, store: TokenStore) -> Path:
    """The encoder of these settings; trained, or its training finished, where that is missing or damaged."""
    folder = _pretrained_folder(experiment, store)
    if not ((folder / METRICS).is_file() and is_intact(folder / LAST)):
        with run_folder("pretrain", experiment, Options(output=str(folder))) as (output, metrics):
            resume = resume_point(output, newest_intact(output)[0] is not None)
            metrics |= runs.pretrain(experiment, store, output, resume)
    return folder / LAST


def _pretrained_folder(experiment: Experiment, store: TokenStore) -> Path:
    """Where the encoder of these settings is kept: named by all that its weights depend on."""
    model = experiment.model
    identity = [
        store.fingerprint,
        [model.embedding_size, model.hidden_size, model.bidirectional],
        asdict(experiment.pretraining),
        experiment.seed,
        experiment.trainer.precision,
    ]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return Path(experiment.data.cache) / "pretrained" / name
