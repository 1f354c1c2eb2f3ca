"""`finetune`: the classifier."""

from collections.abc import Set
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textadv.errors import InputError
from textadv.settings import Experiment

if TYPE_CHECKING:
    from textadv.corpus.store import TokenStore
    from textadv.training.loggers import Watchers


def finetune(
    experiment: Experiment,
    preset: str | None = None,
    pretrained: str | None = None,
    resume: bool = False,
    output: str | None = None,
    given: Set[str] | None = None,
) -> None:
    """Train the classifier; prepare the corpus and pretrain the encoder where they are missing.

    Args:
        experiment: The settings.
        preset: Sizes and steps (small, base or paper) where no config is given; by default by corpus and device. A
            pretrained Transformer has one of its own.
        pretrained: Checkpoint of a language model to start from; `none` for random weights; `continued` for a
            Transformer whose pretraining goes on on the corpus, as `pretrain` does that; with --resume not read.
        resume: Go on from the last checkpoint in --output.
        output: Folder for everything the command writes; by default a new one under runs/.
        given: Names of the settings that a preset leaves as they are; None: all of them, so that none is used.
    """
    from textadv.system.processes import is_main

    metrics = train_classifier(experiment, preset, pretrained, resume, output, given)
    if not is_main():
        return
    error, selecting = metrics["validation_error"], metrics["validation_labels"]
    result = f"best validation error {error:.2f} %" if selecting else f"step {metrics['steps']} is the result"
    if metrics["selection"] == "macro_f1":
        result = f"best validation macro-F1 {metrics['validation_macro_f1']:.4f}, error {error:.2f} %"
    if metrics["temperature"] is not None:
        result += f", temperature {metrics['temperature']:.3f}"
    seen = f"{metrics['labels_seen']} labels seen: {metrics['labels']} train, {selecting} select"
    print(f"{result} ({seen})")


def train_classifier(
    experiment: Experiment,
    preset: str | None,
    pretrained: str | None,
    resume: bool,
    output: str | None,
    given: Set[str] | None,
    announce: bool = True,
    watchers: "Watchers | None" = None,
) -> dict[str, Any]:
    """What `finetune` and `textadv.TextClassifier` do: from the settings to the classifier in its folder.

    Args:
        experiment: The settings.
        preset: As of `finetune`.
        pretrained: As of `finetune`.
        resume: As of `finetune`.
        output: As of `finetune`.
        given: As of `finetune`.
        announce: Say how long it will take, and where the folder is.
        watchers: Callbacks and loggers of the caller's, for the fine-tuning.

    Returns:
        Figures of the run, as in `metrics.json`.

    Raises:
        InputError: The input is wrong, or a run that goes on has lost its best checkpoint.
    """
    from textadv.checkpoints import load_classifier, model_card, require_same_run, save_classifier
    from textadv.commands.folder import METRICS, run_folder
    from textadv.commands.pretrained import has_encoder, pretrained_encoder
    from textadv.commands.shared import resume_point
    from textadv.commands.sizing import prepared_and_sized, tell_durations, with_tokenizer
    from textadv.system.processes import is_main
    from textadv.training import checks, runs
    from textadv.training.loggers import NOBODY, require_loggers

    if resume and output is None:
        raise InputError("--resume: --output must name the folder of the run to go on with")
    last, card = resume_point(Path(output or ""), resume)
    if last is not None:  # it started from what it started from
        pretrained = None if card.get("pretrained") else "none"
    checks.check_encoder(with_tokenizer(experiment, preset, given), pretrained)
    require_loggers(experiment.trainer)
    if given is not None and (pretrained == "none" or not experiment.model.is_recurrent):
        given = given | {"finetuning.head_start"}  # a preset's probe reads a language model, and there is none
    experiment, store = prepared_and_sized(experiment, preset, given)
    checks.check_finetuning(experiment, store)
    if last is not None:
        require_same_run(card, model_card("classifier", experiment, store))
    with run_folder("finetune", output, asdict(experiment), announce) as (folder, metrics):
        if last is None and is_main():  # until this run has ended, its figures are not those of what lies here
            (folder / METRICS).unlink(missing_ok=True)
        if announce and given is not None and last is None:
            pretrains = not has_encoder(experiment, store, pretrained)
            metrics["estimated_seconds"] = tell_durations(experiment, store, pretrains)
        encoder = pretrained_encoder(experiment, store, pretrained) if last is None else None
        metrics |= runs.finetune(experiment, store, folder, encoder, last, watchers or NOBODY)
        if is_main():
            if metrics["validation_labels"] and metrics["validation_error"] is None:
                raise InputError(f"--resume: the best checkpoint in {folder} is damaged or gone, and no steps are left")
            loaded = load_classifier(folder)
            facts = {"corpus": _corpus(store), "figures": metrics.copy()}
            save_classifier(folder, loaded._replace(card=loaded.card | facts))
    return metrics


def _corpus(store: "TokenStore") -> dict[str, Any]:
    """What a model card says about the data: texts and tokens of each split, training texts of each label."""
    labels = store.splits["train"].labels.tolist()
    return {
        "splits": {name: [len(split), len(split.tokens)] for name, split in store.splits.items() if len(split)},
        "labels": {name: labels.count(index) for index, name in enumerate(store.classes)},
    }
