"""`attack`: a classifier under perturbations and word substitutions."""

from dataclasses import asdict
from pathlib import Path

from textadv.settings import AttackSettings, DataSettings, DeviceSettings, TokenizerSettings


def attack(
    checkpoint: str,
    data: DataSettings,
    tokenizer: TokenizerSettings,
    attack: AttackSettings,
    trainer: DeviceSettings,
    source_checkpoint: str | None = None,
    split: str = "test",
    output: str | None = None,
) -> None:
    """Measure accuracy under perturbations and word substitutions, and look for signs of gradient masking.

    Args:
        checkpoint: Checkpoint of a classifier, or the folder of its run.
        data: The corpus; by default the one that the classifier was trained on.
        tokenizer: Its tokenizer; by default that of the classifier.
        attack: The attacks.
        trainer: The device.
        source_checkpoint: Another classifier, to find perturbations on that are applied to this one as well.
        split: train, validation or test.
        output: Folder for everything the command writes; by default a new one under runs/.
    """
    from textadv.checkpoints import load_classifier
    from textadv.commands.folder import run_folder
    from textadv.commands.shared import measured_experiment
    from textadv.evaluation.report.subjects import Subject
    from textadv.evaluation.report.write import write_report
    from textadv.evaluation.robustness import robustness
    from textadv.system.machine import device

    loaded = load_classifier(Path(checkpoint))
    source = None if source_checkpoint is None else load_classifier(Path(source_checkpoint))
    used, store = measured_experiment(loaded, data, tokenizer, trainer)
    with run_folder("attack", output, asdict(used)) as (folder, metrics):
        subject = Subject.of(Path(checkpoint), loaded.card)
        subject.robustness = robustness(loaded, store, split, attack, source, device(trainer))
        metrics |= asdict(subject.robustness) | {"checkpoint": checkpoint, "settings": asdict(attack)}
        metrics["source_checkpoint"] = source_checkpoint
        print(subject.robustness.table())
        write_report(folder, [subject], store, split)
