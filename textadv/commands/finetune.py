"""`finetune`: the classifier."""

from pathlib import Path

from textadv.commands.folder import run_folder
from textadv.commands.pretrain import pretrained_encoder
from textadv.commands.shared import prepared, resume_point
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import Experiment, Options
from textadv.system.processes import is_main
from textadv.training import runs


def run(experiment: Experiment, options: Options) -> None:
    """Train the classifier; prepares the corpus and pretrains the encoder where that is missing."""
    if options.resume and options.output is None:
        raise InputError("--resume: --output must name the folder of the run to go on with")
    experiment, store = prepared(experiment)
    runs.check_finetuning(experiment, store)
    with run_folder("finetune", experiment, options) as (output, metrics):
        resume = resume_point(output, options.resume)
        # A run that goes on has its weights from its own checkpoint.
        pretrained = None if resume is not None else _encoder(experiment, store, options)
        metrics |= runs.finetune(experiment, store, output, pretrained, resume)
        if is_main():
            print(f"best validation error {metrics['validation_error']:.2f} % ({metrics['labels']} labels)")


def _encoder(experiment: Experiment, store: TokenStore, options: Options) -> Path | None:
    """The checkpoint to start from, pretrained where it is missing; None for random weights."""
    if options.pretrained is None:
        return pretrained_encoder(experiment, store)
    return None if options.pretrained == "none" else Path(options.pretrained)
