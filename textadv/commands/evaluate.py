"""`evaluate`: a classifier on a split."""

import json
from dataclasses import asdict
from pathlib import Path

from textadv.settings import DataSettings, EvaluationSettings, TokenizerSettings


def evaluate(
    checkpoint: str,
    data: DataSettings,
    tokenizer: TokenizerSettings,
    trainer: EvaluationSettings,
    split: str = "test",
    output: str | None = None,
) -> None:
    """Measure a classifier on a split.

    Args:
        checkpoint: Checkpoint of a classifier, or the folder of its run.
        data: The corpus; by default the one that the classifier was trained on.
        tokenizer: Its tokenizer; by default that of the classifier.
        trainer: The device and the number format.
        split: train, validation or test.
        output: Folder for everything the command writes; by default a new one under runs/.
    """
    from textadv.checkpoints import load_classifier
    from textadv.commands.folder import run_folder
    from textadv.commands.shared import measured_experiment
    from textadv.evaluation.evaluate import evaluate_split
    from textadv.evaluation.report.subjects import Subject
    from textadv.evaluation.report.write import write_report
    from textadv.precision import autocast
    from textadv.system.machine import device

    loaded = load_classifier(Path(checkpoint))
    used, store = measured_experiment(loaded, data, tokenizer, trainer)
    with run_folder("evaluate", output, asdict(used)) as (folder, metrics):
        subject = Subject.of(Path(checkpoint), loaded.card)
        place = device(trainer)
        with autocast(place, trainer.precision):
            subject.quality = evaluate_split(loaded, store, split, place)
        metrics |= asdict(subject.quality) | {"classes": loaded.classes, "checkpoint": checkpoint, "split": split}
        print(json.dumps({name: value for name, value in metrics.items() if name != "calibration"}, indent=2))
        write_report(folder, [subject], store, split)
