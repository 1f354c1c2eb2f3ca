"""`report`: all that is known about a classifier on one page."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textadv.settings import AttackSettings, DataSettings, DeviceSettings, TokenizerSettings

if TYPE_CHECKING:
    from textadv.checkpoints import LoadedClassifier
    from textadv.corpus.store import TokenStore
    from textadv.evaluation.report.subjects import Subject

NUM_EXAMPLES = 4


def report(
    checkpoint: str,
    data: DataSettings,
    tokenizer: TokenizerSettings,
    attack: AttackSettings,
    trainer: DeviceSettings,
    compare: list[str] | None = None,
    source_checkpoint: str | None = None,
    split: str = "test",
    output: str | None = None,
) -> None:
    """Write all that is known about a checkpoint on one page, beside others.

    Args:
        checkpoint: Checkpoint of a classifier, or the folder of its run.
        data: The corpus; by default the one that the classifier was trained on.
        tokenizer: Its tokenizer; by default that of the classifier.
        attack: The attacks.
        trainer: The device.
        compare: Further checkpoints, or folders, to set beside it.
        source_checkpoint: Another classifier, to find perturbations on that are applied to these as well.
        split: train, validation or test.
        output: Folder for everything the command writes; by default a new one under runs/.
    """
    from textadv.checkpoints import load_classifier
    from textadv.commands.folder import run_folder
    from textadv.commands.shared import measured_experiment
    from textadv.evaluation.evaluate import check_match
    from textadv.evaluation.report.subjects import Subject, distinct_names
    from textadv.evaluation.report.write import write_report
    from textadv.evaluation.robustness import check_source, chosen_attacks
    from textadv.system.machine import device

    paths = [Path(path) for path in (checkpoint, *(compare or []))]
    loaded = [load_classifier(path) for path in paths]
    attacker = None if source_checkpoint is None else load_classifier(Path(source_checkpoint))
    chosen_attacks(attack, loaded[0].classes)  # all that can be wrong is found before long measurements start
    used, store = measured_experiment(loaded[0], data, tokenizer, trainer)
    for number, one in enumerate(loaded):
        check_match(one, store, split, f"--compare {paths[number]}" if number else "--checkpoint")
    if attacker is not None:
        for one in loaded:
            check_source(attacker, one, store, split)
    with run_folder("report", output, asdict(used)) as (folder, metrics):
        names = distinct_names(paths)
        subjects = [Subject.of(path, one.card, name) for path, one, name in zip(paths, loaded, names, strict=True)]
        for subject, one in zip(subjects, loaded, strict=True):
            # At the first one's size as well: only at one size can two of them be compared.
            epsilons = sorted({subject.epsilon, subjects[0].epsilon})
            _measure(subject, one, attacker, store, split, attack, epsilons, device(trainer))
        page = write_report(folder, subjects, store, split)
        metrics |= {"report": str(page), "split": split, "settings": asdict(attack)}
        metrics["checkpoints"] = [_figures(subject) for subject in subjects]
        print(f"report: {page}")


def _measure(
    subject: "Subject",
    loaded: "LoadedClassifier",
    attacker: "LoadedClassifier | None",
    store: "TokenStore",
    name: str,
    settings: AttackSettings,
    epsilons: list[float],
    where: str,
) -> None:
    """Fill in all that can be measured on the split of that name."""
    from textadv.evaluation.evaluate import evaluate_split
    from textadv.evaluation.report import measure
    from textadv.evaluation.report.examples import choose_examples, word_examples
    from textadv.evaluation.robustness import choose_documents, robustness

    print(f"{subject.name}:", file=sys.stderr)
    subject.quality = evaluate_split(loaded, store, name, where)
    subject.robustness = robustness(loaded, store, name, settings, attacker, where)
    split = store.splits[name]
    sample = measure.Sample(split, choose_documents(split, settings.documents, settings.seed))
    few = measure.Sample(split, choose_documents(split, min(settings.check_documents, len(sample.rows)), settings.seed))
    largest = settings.l2_epsilons[-1]
    subject.directions = measure.along_directions(loaded.classifier, few, largest, settings.seed, where)
    subject.smoothness = measure.smoothness(loaded.classifier, sample, epsilons, settings.seed, where)
    subject.examples = word_examples(loaded, choose_examples(sample, NUM_EXAMPLES), subject.epsilon, where)


def _figures(subject: "Subject") -> dict[str, Any]:
    """For `metrics.json`: what has been measured, the values of single documents summed up."""
    import numpy as np

    smoothness = [
        {"epsilon": result["epsilon"], "mean": float(np.mean(values)), "median": float(np.median(values))}
        for result in subject.smoothness
        for values in [result["values"]]
    ]
    return {
        "name": subject.name,
        "checkpoint": subject.checkpoint,
        "quality": asdict(subject.quality) if subject.quality else None,
        "robustness": subject.robustness,
        "directions": subject.directions,
        "smoothness": smoothness,
    }
