"""`evaluate`: a classifier on a split."""

import json
from dataclasses import asdict

from textadv.checkpoints import load_classifier
from textadv.commands.folder import run_folder
from textadv.commands.shared import given, measured_experiment
from textadv.evaluation.evaluate import evaluate_split
from textadv.evaluation.report.subjects import Subject
from textadv.evaluation.report.write import write_report
from textadv.settings import Experiment, Options
from textadv.system.machine import device


def run(experiment: Experiment, options: Options) -> None:
    """Measure a classifier on a split, by default of the corpus it was trained on."""
    path = given(options.checkpoint, "--checkpoint")
    loaded = load_classifier(path)
    used, store = measured_experiment(loaded, experiment)
    with run_folder("evaluate", used, options) as (output, metrics):
        subject = Subject.of(path, loaded.card)
        subject.quality = evaluate_split(loaded, store, options.split, device(experiment.trainer))
        metrics |= asdict(subject.quality) | {"checkpoint": options.checkpoint, "split": options.split}
        print(json.dumps({name: value for name, value in metrics.items() if name != "calibration"}, indent=2))
        write_report(output, [subject], store, options.split)
