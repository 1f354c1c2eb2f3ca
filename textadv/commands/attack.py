"""`attack`: a classifier under perturbations and word substitutions."""

from dataclasses import asdict
from pathlib import Path

from textadv.checkpoints import load_classifier
from textadv.commands.folder import run_folder
from textadv.commands.shared import given, measured_experiment
from textadv.evaluation.report.subjects import Subject
from textadv.evaluation.report.write import write_report
from textadv.evaluation.robustness import robustness, table
from textadv.settings import Experiment, Options
from textadv.system.machine import device


def run(experiment: Experiment, options: Options) -> None:
    """Measure accuracy under attack, by default on the test split of the corpus the classifier was trained on."""
    path = given(options.checkpoint, "--checkpoint")
    loaded = load_classifier(path)
    settings = options.attack
    source = None if options.source_checkpoint is None else load_classifier(Path(options.source_checkpoint))
    used, store = measured_experiment(loaded, experiment)
    with run_folder("attack", used, options) as (output, metrics):
        subject = Subject.of(path, loaded.card)
        subject.robustness = robustness(loaded, store, options.split, settings, source, device(experiment.trainer))
        metrics |= subject.robustness | {"checkpoint": options.checkpoint, "settings": asdict(settings)}
        metrics["source_checkpoint"] = options.source_checkpoint
        print(table(metrics))
        write_report(output, [subject], store, options.split)
