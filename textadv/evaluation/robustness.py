"""How a classifier stands up to attacks: accuracy by size of the perturbation, words replaced, signs of masking."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from textadv.adversarial.attacks import Attack
from textadv.adversarial.norms import Norm, zero_rows
from textadv.attack_names import parse_attack
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.store import TokenStore
from textadv.corpus.tokenization import TextTokenizer
from textadv.errors import InputError
from textadv.evaluation import masking
from textadv.evaluation.attacks import Right, clean_pass, joined, loss_gradient, right_under_attacks
from textadv.evaluation.evaluate import check_match
from textadv.evaluation.lexicon import Lexicon
from textadv.evaluation.samples import Sample
from textadv.evaluation.substitution import WordCurve, substitution_curve
from textadv.models.classifier import Classifier
from textadv.models.encoders import StreamEncoder
from textadv.settings import AttackSettings
from textadv.system.progress import progress


@dataclass(frozen=True)
class AttackCurve:
    """Accuracy under an attack."""

    attack: str  # its name
    norm: Norm  # what measures its size
    epsilons: list[float]  # the sizes, rising
    accuracy: list[float]  # the share of the documents that is right unperturbed and perturbed, at each size


@dataclass(frozen=True)
class Robustness:
    """What attacks have found."""

    split: str  # name of the split
    documents: int  # how many of it were attacked
    clean_accuracy: float  # the share that is right unperturbed
    zero_gradients: float  # the share whose loss has a gradient of exactly zero at the embeddings
    attacks: list[AttackCurve]  # white-box attacks
    transfer: list[AttackCurve]  # the same attacks, their perturbations found on another classifier; empty without one
    words: WordCurve | None  # words replaced; None where the vocabulary has no two words to exchange
    checks: list[masking.Check]  # signs of masked gradients

    def table(self) -> str:
        """The figures as text."""

        def line(title: str, name: str, sizes: Sequence[float], accuracy: Sequence[float], form: str) -> str:
            cells = "  ".join(f"{size:{form}}: {share:.1%}" for size, share in zip(sizes, accuracy, strict=True))
            return f"{title:<11} {name:<26} {cells}"

        lines = [f"{self.documents} documents of {self.split}, accuracy {self.clean_accuracy:.1%} unperturbed"]
        for title, rows in (("white-box", self.attacks), ("transferred", self.transfer)):
            lines += [line(title, row.attack, row.epsilons, row.accuracy, "g") for row in rows]
        if self.words is not None:
            replaced = line("words", "substituted", self.words.budgets, self.words.accuracy, ".0%")
            lines.append(f"{replaced}  ({self.words.exchangeable:.0%} exchangeable)")
        return "\n".join([*lines, *(check.line() for check in self.checks)])


def robustness(
    loaded: LoadedClassifier,
    store: TokenStore,
    split: str,
    settings: AttackSettings,
    source: LoadedClassifier | None = None,
    device: str = "cpu",
) -> Robustness:
    """Attack a classifier on documents of a split.

    Args:
        loaded: The classifier under attack.
        store: The prepared corpus.
        split: Name of the split.
        settings: Attacks, sizes and number of documents.
        source: Another classifier, on which perturbations are found too, to be applied to the first.
        device: Where to compute, such as `cuda`.

    Raises:
        InputError: Classifier, corpus and settings do not belong together.
    """
    attacks = chosen_attacks(settings, loaded.classes)
    documents = check_match(loaded, store, split)
    if source is not None:
        check_source(source, loaded, store, split)
    sample = Sample.draw(documents, settings.documents, settings.seed)
    victim = loaded.classifier.to(device).eval()
    attacker = source.classifier.to(device).eval() if source is not None else None
    generator = torch.Generator(device).manual_seed(settings.seed)
    sized = [(attack, settings.sizes(attack.norm)) for attack in attacks.values()]
    interpretable = any(attack.needs_directions for attack in attacks.values())
    unperturbed: list[list[Right]] = []
    white_box: list[list[Right]] = []
    transferred: list[list[Right]] = []
    for _, batch in sample.batches(device, f"attacking on {split}"):
        target = clean_pass(victim, batch, interpretable)
        gradient = loss_gradient(target, batch.labels)
        flags = [target.logits.argmax(1) == batch.labels, zero_rows(gradient, target.mask)]
        unperturbed.append([flag[None].cpu().numpy() for flag in flags])
        white_box.append(right_under_attacks(sized, target, target, batch.labels, generator, gradient))
        if attacker is not None:
            origin = clean_pass(attacker, batch, interpretable)
            transferred.append(right_under_attacks(sized, origin, target, batch.labels, generator))

    def curves(parts: list[list[Right]]) -> list[AttackCurve]:
        found = zip(attacks, sized, joined(parts), strict=True) if parts else ()
        return [AttackCurve(name, a.norm, sizes, right.mean(1).tolist()) for name, (a, sizes), right in found]

    right, zero = (float(flag.mean()) for flag in joined(unperturbed))
    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    lexicon = Lexicon.of(tokenizer, [one.tokens for one in store.splits.values()], device)
    words = None
    if lexicon.has_choice:
        words = substitution_curve(victim, sample, lexicon, settings, loaded.classes, device)
    else:
        print("textadv: the vocabulary has no two words to exchange, so no words are replaced", file=sys.stderr)
    result = Robustness(split, len(sample.rows), right, zero, curves(white_box), curves(transferred), words, [])
    window = loaded.card["settings"]["finetuning"]["window"]
    return replace(result, checks=_checks(victim, sample, window, result, settings, device, generator))


def check_source(source: LoadedClassifier, loaded: LoadedClassifier, store: TokenStore, split: str) -> None:
    """See to it that perturbations found on one classifier, the source, can be applied to another one.

    Raises:
        InputError: They cannot.
    """
    check_match(source, store, split, "--source-checkpoint")
    sizes = [one.classifier.encoder.embedding_size for one in (source, loaded)]
    if sizes[0] != sizes[1]:
        raise InputError(f"--source-checkpoint: its embeddings have {sizes[0]} dimensions, those attacked {sizes[1]}")


def chosen_attacks(settings: AttackSettings, classes: Sequence[str]) -> dict[str, Attack]:
    """The attacks that are asked for, by their names.

    Raises:
        InputError: There is no such attack.
    """
    options = {"num_steps": settings.num_steps, "num_restarts": settings.num_restarts}
    return {name: parse_attack(name, classes, "--attack.attacks", **options) for name in settings.attacks}


def _checks(
    classifier: Classifier,
    sample: Sample,
    window: int,
    result: Robustness,
    settings: AttackSettings,
    device: str,
    generator: torch.Generator,
) -> list[masking.Check]:
    """All checks; what was not measured on all documents is measured on few, or on the few that are longest."""
    few = Sample.draw(sample.split, min(settings.check_documents, len(sample.rows)), settings.seed)
    by_length = sample.rows[np.argsort(-sample.lengths, kind="stable")[: settings.check_documents]]
    longest = Sample(sample.split, by_length[sample.split.lengths[by_length] > window])
    through_streams = isinstance(classifier.encoder, StreamEncoder)  # others read whole documents in training, too
    batches, long = ([batch for _, batch in one.batches(device)] for one in (few, longest))
    sizes = settings.l2_epsilons
    own, transfer = ({row.attack: np.array(row.accuracy) for row in rows} for rows in (result.attacks, result.transfer))
    basic = [(Attack("fgsm", "l2"), sizes), (Attack("noise", "l2"), sizes)]
    step, noise = masking.right_in_batches(basic, classifier, batches, generator)
    some = {"fgsm-l2": step.mean(1), "noise-l2": noise.mean(1)}
    falling = own if any(name.startswith("fgsm") for name in own) else some
    compared = own if masking.noise_pairs(own.keys()) else some
    checks = [
        partial(masking.check_repeatability, classifier, batches),
        partial(masking.check_gradients, result.zero_gradients),
        *([partial(masking.check_whole_documents, classifier, long, sizes, window, generator)] * through_streams),
        partial(masking.check_huge_perturbation, classifier, batches, sizes[-1], generator),
        partial(masking.check_many_steps, classifier, batches, sizes[len(sizes) // 2], generator),
        partial(masking.check_monotony, falling),
        partial(masking.check_noise, compared),
    ]
    if any(not name.startswith("noise-") for name in transfer):
        checks.append(partial(masking.check_transfer, own, transfer))
    return [check() for check in progress(checks, len(checks), "checking for masked gradients")]
