"""Accuracy under attack: which perturbation, how large, found on which classifier."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.adversarial import attacks as mathematics
from textadv.adversarial.attacks import Attack, gradient_at
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.interpretable import word_directions
from textadv.corpus.batching import Batch
from textadv.evaluation.substitution import near_words
from textadv.models.classifier import Classifier
from textadv.models.clean_pass import CleanPass

SizedAttacks = Sequence[tuple[Attack, Sequence[float]]]  # how perturbations are found, each with their sizes
Right = NDArray[np.bool_]  # which documents are classified rightly at which size, (sizes, B)


@torch.no_grad()
def clean_pass(classifier: Classifier, batch: Batch, interpretable: bool = False) -> CleanPass:
    """Embed and classify, without gradient; with the nearest words where an interpretable perturbation needs them."""
    embeddings = classifier.embed(batch.tokens)
    logits = classifier.classify(embeddings, batch.lengths)
    near = classifier.encoder.word_table()[neighbours_of(classifier, batch.tokens)] if interpretable else None
    mask = classifier.encoder.perturbation_mask(batch.tokens, batch.lengths)
    return CleanPass(classifier, embeddings, batch.lengths, mask, logits, near, classifier.encoder.seed)


def neighbours_of(classifier: Classifier, tokens: Tensor) -> Tensor:
    """Ids of the nearest words of every word (B, T), nearest first, (B, T, K); K is 0 where there are no two words."""
    table = classifier.encoder.word_table()
    words, places = torch.unique(tokens, return_inverse=True)
    return near_words(table, words, classifier.encoder.is_special)[places]


def loss_gradient(clean: CleanPass, labels: Tensor) -> Tensor:
    """Gradient of the cross entropy at the embeddings, (B, T, D)."""
    return gradient_at(clean.embeddings, lambda x: cross_entropy(clean.classify(x), labels))


def perturb(
    attack: Attack,
    clean: CleanPass,
    labels: Tensor,
    epsilon: float,
    generator: torch.Generator,
    gradient: Tensor | None = None,
) -> Tensor:
    """The perturbation that an attack finds, (B, T, D); see `textadv.adversarial.attacks.perturb`.

    An interpretable attack needs a clean pass with neighbours. `gradient` is `loss_gradient(clean, labels)`, where that
    is known already.
    """
    x, mask, near = clean.embeddings, clean.mask, clean.neighbours
    directions = word_directions(x, near) if attack.needs_directions and near is not None else None
    return mathematics.perturb(
        attack, clean.classify, x, labels, mask, epsilon, clean.logits, gradient, directions, generator
    )


@torch.no_grad()
def right_under_attacks(
    attacks: SizedAttacks,
    source: CleanPass,
    target: CleanPass,
    labels: Tensor,
    generator: torch.Generator,
    gradient: Tensor | None = None,
) -> list[Right]:
    """Which examples are classified rightly, unperturbed and at x + r, for each size of r by itself.

    Noise, the single step from x and the interpretable perturbation keep their direction at every size, which is
    searched once. The other attacks search anew at every size. All of them share the unperturbed pass and its gradient.

    Args:
        attacks: How perturbations are found, each with their sizes.
        source: Where they are found.
        target: Where they are applied; the source itself for a white-box attack.
        labels: The right classes, (B,).
        generator: Source of randomness.
        gradient: `loss_gradient(source, labels)`, where it is known already.

    Returns:
        For each attack an array of shape (sizes, B).
    """
    outcome = [np.zeros((len(epsilons), len(labels)), np.bool_) for _, epsilons in attacks]
    tried = (target.logits.argmax(1) == labels).nonzero().squeeze(1)  # what is wrong unperturbed stays so
    if not len(tried):
        return outcome
    origin, victim, wanted, places = source.rows(tried), target.rows(tried), labels[tried], tried.cpu().numpy()
    gradient = loss_gradient(origin, wanted) if gradient is None else gradient[tried]
    for (attack, epsilons), right in zip(attacks, outcome, strict=True):
        unit = perturb(attack, origin, wanted, 1.0, generator, gradient) if attack.keeps_direction else None
        for row, epsilon in zip(right, epsilons, strict=True):
            r = perturb(attack, origin, wanted, epsilon, generator, gradient) if unit is None else epsilon * unit
            row[places] = (victim.logits_at(r).argmax(1) == wanted).cpu().numpy()
    return outcome


def joined(parts: Iterable[Sequence[Right]]) -> list[Right]:
    """What was found for one batch after another, as found for all of them, (sizes, n) for each attack."""
    return [np.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True)]
