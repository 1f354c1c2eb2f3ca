"""`finetune`: the classifier."""

from dataclasses import asdict

from textadv.errors import InputError
from textadv.settings import Experiment


def finetune(
    experiment: Experiment, pretrained: str | None = None, resume: bool = False, output: str | None = None
) -> None:
    """Train the classifier; prepare the corpus and pretrain the encoder where they are missing.

    Args:
        experiment: The settings.
        pretrained: Checkpoint of a language model to start from; `none` for random weights; `continued` for a
            Transformer whose pretraining goes on on the corpus, as `pretrain` does that; with --resume not read.
        resume: Go on from the last checkpoint in --output.
        output: Folder for everything the command writes; by default a new one under runs/.
    """
    from textadv.commands.folder import run_folder
    from textadv.commands.pretrained import pretrained_encoder
    from textadv.commands.shared import prepared, resume_point
    from textadv.system.processes import is_main
    from textadv.training import runs

    if resume and output is None:
        raise InputError("--resume: --output must name the folder of the run to go on with")
    runs.check_encoder(experiment, pretrained)
    experiment, store = prepared(experiment)
    runs.check_finetuning(experiment, store)
    with run_folder("finetune", output, asdict(experiment)) as (folder, metrics):
        last = resume_point(folder, resume)
        encoder = pretrained_encoder(experiment, store, pretrained) if last is None else None
        metrics |= runs.finetune(experiment, store, folder, encoder, last)
        if not is_main():
            return
        error, selecting = metrics["validation_error"], metrics["validation_labels"]
        if selecting and error is None:
            raise InputError(f"--resume: the best checkpoint in {folder} is damaged or gone, and no steps are left")
        result = f"best validation error {error:.2f} %" if selecting else f"step {metrics['steps']} is the result"
        seen = f"{metrics['labels_seen']} labels seen: {metrics['labels']} train, {selecting} select"
        print(f"{result} ({seen})")
