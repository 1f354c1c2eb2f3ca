"""`evaluate`: a classifier on a split."""

import json

from textadv.checkpoints import load_classifier
from textadv.commands.shared import device, given, own_corpus, run_folder
from textadv.evaluation.evaluate import evaluate_split
from textadv.settings import Experiment, Options


def run(experiment: Experiment, options: Options) -> None:
    """Measure a classifier on a split, by default of the corpus it was trained on."""
    loaded = load_classifier(given(options.checkpoint, "--checkpoint"))
    store = own_corpus(loaded, experiment)
    with run_folder("evaluate", experiment, options) as (_, metrics):
        metrics |= evaluate_split(loaded, store, options.split, device())
        metrics |= {"checkpoint": options.checkpoint, "split": options.split}
        print(json.dumps(metrics, indent=2))
