"""Accuracy under attack: which perturbation, how large, found on which classifier."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.adversarial import attacks as mathematics
from textadv.adversarial.attacks import Attack, gradient_at
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.interpretable import word_directions
from textadv.adversarial.norms import perturbation_mask
from textadv.corpus.batching import Batch
from textadv.corpus.tokenization import SPECIAL_TOKENS
from textadv.evaluation.substitution import near_words
from textadv.models.classifier import Classifier


class Victim(NamedTuple):
    """A classifier and a batch, embedded in its space."""

    classifier: Classifier
    tokens: Tensor  # (B, T)
    embeddings: Tensor  # (B, T, D)
    lengths: Tensor  # (B,), in main memory

    @classmethod
    def of(cls, classifier: Classifier, batch: Batch) -> "Victim":
        """Embed a batch, without gradient."""
        with torch.no_grad():
            return cls(classifier, batch.tokens, classifier.embed(batch.tokens), batch.lengths)

    def classify(self, embeddings: Tensor) -> Tensor:
        """Logits of (perturbed) embeddings, (B, C)."""
        return self.classifier.classify(embeddings, self.lengths)

    def gradient(self, labels: Tensor) -> Tensor:
        """That of the cross entropy at the embeddings, (B, T, D)."""
        return gradient_at(self.embeddings, lambda x: cross_entropy(self.classify(x), labels))

    def logits(self, r: Tensor | float = 0.0) -> Tensor:
        """Logits at x + r, (B, C)."""
        with torch.inference_mode():
            return self.classify(self.embeddings + r)

    def rows(self, chosen: Tensor) -> "Victim":
        """Some of the examples."""
        return Victim(self.classifier, self.tokens[chosen], self.embeddings[chosen], self.lengths[chosen.cpu()])


def directions_to_neighbours(classifier: Classifier, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest words of every word, and the directions to them.

    Args:
        classifier: In evaluation mode.
        tokens: Words, (B, T).

    Returns:
        Ids of the neighbours, nearest first, (B, T, K), and unit vectors, (B, T, K, D). K is 0 where the vocabulary
        has no two words.
    """
    table = classifier.encoder.word_table()
    words, places = torch.unique(tokens, return_inverse=True)
    special = torch.arange(len(table), device=tokens.device) < len(SPECIAL_TOKENS)
    neighbours = near_words(table, words, special)[places]
    return neighbours, word_directions(table[tokens], table[neighbours])


def perturb(
    attack: Attack,
    source: Victim,
    labels: Tensor,
    epsilon: float,
    generator: torch.Generator,
    gradient: Tensor | None = None,
) -> Tensor:
    """The perturbation that an attack finds.

    Args:
        attack: How.
        source: Where.
        labels: The right classes, (B,).
        epsilon: Its size in the attack's norm, in normalized-embedding units.
        generator: Source of randomness.
        gradient: `source.gradient(labels)`, where it is known already.

    Returns:
        r, (B, T, D).
    """
    return mathematics.perturb(
        attack,
        source.classify,
        source.embeddings,
        labels,
        perturbation_mask(source.lengths, source.embeddings),
        epsilon,
        gradient=gradient,
        directions=directions_to_neighbours(source.classifier, source.tokens)[1] if attack.needs_directions else None,
        generator=generator,
    )


def right_under_attacks(
    attacks: Sequence[tuple[Attack, Sequence[float]]],
    source: Victim,
    target: Victim,
    labels: Tensor,
    generator: torch.Generator,
    gradient: Tensor | None = None,
) -> list[NDArray[np.bool_]]:
    """Which examples are classified rightly, unperturbed and at x + r, for each size of r by itself.

    Noise, the single step from x and the interpretable perturbation keep their direction at every size, which is
    searched once. The other attacks search anew at every size. All of them share the unperturbed pass and its gradient.

    Args:
        attacks: How perturbations are found, each with their sizes.
        source: Where they are found.
        target: Where they are applied; the source itself for a white-box attack.
        labels: The right classes, (B,).
        generator: Source of randomness.
        gradient: `source.gradient(labels)`, where it is known already.

    Returns:
        For each attack an array of shape (sizes, B).
    """
    outcome = [np.zeros((len(epsilons), len(labels)), np.bool_) for _, epsilons in attacks]
    tried = (target.logits().argmax(1) == labels).nonzero().squeeze(1)  # what is wrong unperturbed stays so
    if not len(tried):
        return outcome
    origin, victim, wanted, places = source.rows(tried), target.rows(tried), labels[tried], tried.cpu().numpy()
    gradient = origin.gradient(wanted) if gradient is None else gradient[tried]
    for (attack, epsilons), right in zip(attacks, outcome, strict=True):
        unit = perturb(attack, origin, wanted, 1.0, generator, gradient) if attack.keeps_direction else None
        for row, epsilon in zip(right, epsilons, strict=True):
            r = perturb(attack, origin, wanted, epsilon, generator, gradient) if unit is None else epsilon * unit
            row[places] = (victim.logits(r).argmax(1) == wanted).cpu().numpy()
    return outcome
