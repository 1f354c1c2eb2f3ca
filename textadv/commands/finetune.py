"""`finetune`: the classifier."""

from pathlib import Path

from textadv.commands.folder import run_folder
from textadv.commands.pretrain import pretrained_encoder
from textadv.commands.shared import resume_point
from textadv.corpus.preparation import prepare
from textadv.errors import InputError
from textadv.processes import is_main
from textadv.settings import Experiment, Options
from textadv.training import runs


def run(experiment: Experiment, options: Options) -> None:
    """Train the classifier; prepares the corpus and pretrains the encoder where that is missing."""
    if options.resume and options.output is None:
        raise InputError("--resume: --output must name the folder of the run to go on with")
    store = prepare(experiment.data, experiment.tokenizer)
    runs.check_finetuning(experiment, store)
    with run_folder("finetune", experiment, options) as (output, metrics):
        resume = resume_point(output, options.resume)
        if options.pretrained == "none":
            pretrained = None
        elif options.pretrained is not None:
            pretrained = Path(options.pretrained)
        else:
            pretrained = pretrained_encoder(experiment, store)
        metrics["pretrained"] = None if pretrained is None else str(pretrained)
        metrics |= runs.finetune(experiment, store, output, pretrained, resume)
        if is_main():
            print(f"best validation error {metrics['validation_error']:.2f} % ({metrics['labels']} labels)")
