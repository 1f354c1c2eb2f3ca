"""`report`: all that is known about a classifier on one page."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from textadv.checkpoints import LoadedClassifier, load_classifier
from textadv.commands.folder import run_folder
from textadv.commands.shared import given, measured_experiment
from textadv.corpus.store import TokenStore
from textadv.evaluation.evaluate import check_match, evaluate_split
from textadv.evaluation.report import measure
from textadv.evaluation.report.examples import choose_examples, word_examples
from textadv.evaluation.report.subjects import Subject, distinct_names
from textadv.evaluation.report.write import write_report
from textadv.evaluation.robustness import check_source, choose_documents, chosen_attacks, robustness
from textadv.settings import Experiment, Options
from textadv.system.machine import device

NUM_EXAMPLES = 4


def run(experiment: Experiment, options: Options) -> None:
    """Measure checkpoints side by side, by default on the test split, and write it all into one HTML file."""
    paths = [given(options.checkpoint, "--checkpoint"), *map(Path, options.compare)]
    loaded = [load_classifier(path) for path in paths]
    source = options.source_checkpoint
    attacker = None if source is None else load_classifier(Path(source))
    chosen_attacks(options.attack, loaded[0].classes)  # all that can be wrong is found before long measurements start
    used, store = measured_experiment(loaded[0], experiment)
    for number, one in enumerate(loaded):
        check_match(one, store, options.split, f"--compare {paths[number]}" if number else "--checkpoint")
    if attacker is not None:
        for one in loaded:
            check_source(attacker, one, store, options.split)
    with run_folder("report", used, options) as (output, metrics):
        names = distinct_names(paths)
        subjects = [Subject.of(path, one.card, name) for path, one, name in zip(paths, loaded, names, strict=True)]
        for subject, one in zip(subjects, loaded, strict=True):
            # At the first one's size as well: only at one size can two of them be compared.
            epsilons = sorted({subject.epsilon, subjects[0].epsilon})
            _measure(subject, one, attacker, store, options, epsilons, device(experiment.trainer))
        page = write_report(output, subjects, store, options.split)
        metrics |= {"report": str(page), "split": options.split, "settings": asdict(options.attack)}
        metrics["checkpoints"] = [_figures(subject) for subject in subjects]
        print(f"report: {page}")


def _measure(
    subject: Subject,
    loaded: LoadedClassifier,
    attacker: LoadedClassifier | None,
    store: TokenStore,
    options: Options,
    epsilons: list[float],
    where: str,
) -> None:
    """Fill in all that can be measured."""
    settings = options.attack
    print(f"{subject.name}:", file=sys.stderr)
    subject.quality = evaluate_split(loaded, store, options.split, where)
    subject.robustness = robustness(loaded, store, options.split, settings, attacker, where)
    split = store.splits[options.split]
    sample = measure.Sample(split, choose_documents(split, settings.documents, settings.seed))
    few = measure.Sample(split, choose_documents(split, min(settings.check_documents, len(sample.rows)), settings.seed))
    largest = settings.l2_epsilons[-1]
    subject.directions = measure.along_directions(loaded.classifier, few, largest, settings.seed, where)
    subject.smoothness = measure.smoothness(loaded.classifier, sample, epsilons, settings.seed, where)
    subject.examples = word_examples(loaded, choose_examples(sample, NUM_EXAMPLES), subject.epsilon, where)


def _figures(subject: Subject) -> dict[str, Any]:
    """For `metrics.json`: what has been measured, the values of single documents summed up."""
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
