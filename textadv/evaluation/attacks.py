"""Accuracy under attack: which perturbation, how large, found on which classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.adversarial.attacks import (
    LEAST_LIKELY,
    LossFunction,
    Target,
    aim,
    gradient_at,
    random_noise,
    read_target,
    search,
)
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.interpretable import interpretable_perturbation, word_directions
from textadv.adversarial.norms import Norm, perturbation_mask
from textadv.corpus.batching import Batch
from textadv.corpus.tokenization import SPECIAL_TOKENS
from textadv.errors import InputError
from textadv.evaluation.substitution import near_words
from textadv.models.classifier import Classifier

Kind = Literal["noise", "fgsm", "rfgsm", "ifgsm", "pgd", "interpretable"]


@dataclass(frozen=True)
class Attack:
    """A way to find a perturbation of a given size.

    Attributes:
        kind: Random noise, one step, a random step and one step, several steps, several steps from random starts, one
            step along the directions to other words.
        norm: What measures the size: `l2` over the whole sequence, or `linf`. That of `interpretable` is the L2 norm of
            the weights of its directions.
        target: The class to move towards; None for away from the label.
        num_steps: Steps of `ifgsm` and `pgd`.
        num_restarts: Random starts of `pgd`.
        name: As `parse_attack` has read it.
    """

    kind: Kind
    norm: Norm
    target: Target | None = None
    num_steps: int = 5
    num_restarts: int = 1
    name: str = ""

    @property
    def keeps_direction(self) -> bool:
        """Whether the perturbation of another size is a multiple."""
        return self.kind in ("noise", "fgsm", "interpretable")


def parse_attack(name: str, classes: Sequence[str], num_steps: int, num_restarts: int) -> Attack:
    """Read a name such as `fgsm-l2`, `pgd-linf-least_likely` or, where there is a class `neg`, `ifgsm-l2-neg`.

    Args:
        name: Kind, norm and, where the attack has one, its target, joined by hyphens.
        classes: Names of the classes.
        num_steps: Steps of the iterated attacks.
        num_restarts: Random starts of `pgd`.

    Returns:
        The attack.

    Raises:
        InputError: There is no such attack.
    """
    flag = f"--attack.attacks {name}"
    kind, _, rest = name.partition("-")
    norm, _, wanted = rest.partition("-")
    if kind not in get_args(Kind) or norm not in get_args(Norm):
        kinds, norms = ", ".join(get_args(Kind)), ", ".join(get_args(Norm))
        raise InputError(
            f"{flag}: an attack is one of {kinds}, a norm ({norms}) and perhaps a target ({LEAST_LIKELY} or a class), "
            f"such as fgsm-l2 or pgd-linf-{LEAST_LIKELY}"
        )
    if wanted and kind == "noise":
        raise InputError(f"{flag}: noise has no target")
    if kind == "interpretable" and norm != "l2":
        raise InputError(f"{flag}: interpretable perturbations are measured in l2")
    try:
        target = read_target(wanted, classes) if wanted else None
    except ValueError as error:
        raise InputError(f"{flag}: {error}") from None
    return Attack(cast(Kind, kind), cast(Norm, norm), target, num_steps, num_restarts, name)


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

    def loss(self, labels: Tensor) -> LossFunction:
        """Cross entropy per example as a function of the embeddings."""
        return lambda x: cross_entropy(self.classifier.classify(x, self.lengths), labels)

    def gradient(self, labels: Tensor) -> Tensor:
        """That of the cross entropy at the embeddings, (B, T, D)."""
        return gradient_at(self.embeddings, self.loss(labels))

    def logits(self, r: Tensor | float = 0.0) -> Tensor:
        """Logits at x + r, (B, C)."""
        with torch.inference_mode():
            return self.classifier.classify(self.embeddings + r, self.lengths)

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
    mask = perturbation_mask(source.lengths, source.embeddings)
    if attack.kind == "noise":
        return random_noise(source.embeddings, mask, epsilon, attack.norm, generator)
    wanted, targeted = labels, attack.target is not None
    if attack.target is not None:
        wanted, mask = aim(attack.target, source.logits(), labels, mask)
        gradient = None
    if attack.kind == "interpretable":
        gradient = source.gradient(wanted) if gradient is None else gradient
        return _towards_words(source, -gradient if targeted else gradient, mask, epsilon)
    return search(
        attack.kind,
        source.loss(wanted),
        source.embeddings,
        mask,
        epsilon,
        attack.norm,
        targeted,
        attack.num_steps,
        attack.num_restarts,
        gradient=gradient,
        generator=generator,
    )


def _towards_words(source: Victim, gradient: Tensor, mask: Tensor, epsilon: float) -> Tensor:
    """The interpretable perturbation; zero where the vocabulary has no two words."""
    directions = directions_to_neighbours(source.classifier, source.tokens)[1]
    if not directions.shape[2]:
        return torch.zeros_like(gradient)
    return interpretable_perturbation(gradient, directions, mask, epsilon)[0]


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
