"""`report`: all that is known about a classifier on one page."""

import sys
from dataclasses import asdict
from pathlib import Path

from textadv.settings import AttackSettings, DataSettings, DeviceSettings, TokenizerSettings

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
    from textadv.corpus.tokenization import TextTokenizer
    from textadv.evaluation.evaluate import check_match, evaluate_split
    from textadv.evaluation.report import measure
    from textadv.evaluation.report.examples import choose_examples, word_examples
    from textadv.evaluation.report.subjects import Subject, distinct_names
    from textadv.evaluation.report.write import write_report
    from textadv.evaluation.robustness import check_source, chosen_attacks, robustness
    from textadv.evaluation.samples import Sample
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
        subjects = [
            Subject.of(path, one.card, name)
            for path, one, name in zip(paths, loaded, distinct_names(paths), strict=True)
        ]
        seed, where, documents = attack.seed, device(trainer), store.splits[split]
        sample = Sample.draw(documents, attack.documents, seed)
        reader = TextTokenizer.from_json(store.tokenizer_json)
        num_special = len(reader.prefix) + len(reader.suffix)
        few = Sample.draw(documents, min(attack.check_documents, len(sample.rows)), seed)
        for subject, one in zip(subjects, loaded, strict=True):
            print(f"{subject.name}:", file=sys.stderr)
            # At the first one's size as well: only at one size can two of them be compared.
            epsilons = sorted({subject.epsilon, subjects[0].epsilon})
            subject.quality = evaluate_split(one, store, split, where)
            subject.robustness = robustness(one, store, split, attack, attacker, where)
            subject.directions = measure.along_directions(one.classifier, few, attack.l2_epsilons[-1], seed, where)
            subject.smoothness = measure.smoothness(one.classifier, sample, epsilons, seed, where)
            examples = choose_examples(sample, NUM_EXAMPLES, num_special)
            subject.examples = word_examples(one, examples, subject.epsilon, where)
        page = write_report(folder, subjects, store, split)
        metrics |= {"report": str(page), "split": split, "settings": asdict(attack)}
        metrics["checkpoints"] = [subject.figures() for subject in subjects]
        print(f"report: {page}")
