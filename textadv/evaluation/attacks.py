"""Accuracy under attack: which perturbation, how large, found on which classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.adversarial.attacks import LossFunction, least_likely_class, random_noise, search
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.norms import Norm, perturbation_mask
from textadv.corpus.batching import Batch
from textadv.errors import InputError
from textadv.models.classifier import Classifier

Kind = Literal["noise", "fgsm", "rfgsm", "ifgsm", "pgd"]
LEAST_LIKELY = "least_likely"


@dataclass(frozen=True)
class Attack:
    """A way to find a perturbation of a given size.

    Attributes:
        kind: Random noise, one step, a random step and one step, several steps, several steps from random starts.
        norm: What measures the size: `l2` over the whole sequence, or `linf`.
        targeted: Towards the class that the classifier holds least likely, rather than away from the label.
        num_steps: Steps of `ifgsm` and `pgd`.
        num_restarts: Random starts of `pgd`.
    """

    kind: Kind
    norm: Norm
    targeted: bool = False
    num_steps: int = 5
    num_restarts: int = 1

    @property
    def name(self) -> str:
        """As `parse_attack` reads it."""
        return "-".join([self.kind, self.norm, *([LEAST_LIKELY] if self.targeted else [])])

    @property
    def keeps_direction(self) -> bool:
        """Whether the perturbation of another size is a multiple."""
        return self.kind in ("noise", "fgsm")


def parse_attack(name: str, num_steps: int, num_restarts: int) -> Attack:
    """Read a name such as `fgsm-l2` or `pgd-linf-least_likely`.

    Args:
        name: Kind, norm and, where the attack has one, its target, joined by hyphens.
        num_steps: Steps of the iterated attacks.
        num_restarts: Random starts of `pgd`.

    Returns:
        The attack.

    Raises:
        InputError: There is no such attack.
    """
    kind, _, rest = name.partition("-")
    norm, _, target = rest.partition("-")
    if kind not in get_args(Kind) or norm not in get_args(Norm) or target not in ("", LEAST_LIKELY):
        kinds, norms = ", ".join(get_args(Kind)), ", ".join(get_args(Norm))
        raise InputError(
            f"--attack.attacks {name}: an attack is one of {kinds}, a norm ({norms}) and perhaps {LEAST_LIKELY}, "
            f"such as fgsm-l2 or pgd-linf-{LEAST_LIKELY}"
        )
    if target and kind == "noise":
        raise InputError(f"--attack.attacks {name}: noise has no target")
    return Attack(cast(Kind, kind), cast(Norm, norm), bool(target), num_steps, num_restarts)


class Victim(NamedTuple):
    """A classifier and the embeddings of a batch in its space."""

    classifier: Classifier
    embeddings: Tensor  # (B, T, D)
    lengths: Tensor  # (B,)

    @classmethod
    def of(cls, classifier: Classifier, batch: Batch) -> "Victim":
        """Embed a batch, without gradient."""
        with torch.no_grad():
            return cls(classifier, classifier.embed(batch.tokens), batch.lengths)

    def loss(self, labels: Tensor) -> LossFunction:
        """Cross entropy per example as a function of the embeddings."""
        return lambda x: cross_entropy(self.classifier.classify(x, self.lengths), labels)

    def logits(self, r: Tensor | float = 0.0) -> Tensor:
        """Logits at x + r, (B, C)."""
        with torch.inference_mode():
            return self.classifier.classify(self.embeddings + r, self.lengths)

    def rows(self, chosen: Tensor) -> "Victim":
        """Some of the examples."""
        return Victim(self.classifier, self.embeddings[chosen], self.lengths[chosen])


def perturb(attack: Attack, source: Victim, labels: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """The perturbation that an attack finds.

    Args:
        attack: How.
        source: Where.
        labels: The right classes, (B,).
        epsilon: Its size in the attack's norm, in normalized-embedding units.
        generator: Source of randomness.

    Returns:
        r, (B, T, D).
    """
    mask = perturbation_mask(source.lengths, source.embeddings.shape[1])
    if attack.kind == "noise":
        return random_noise(source.embeddings, mask, epsilon, attack.norm, generator)
    loss = source.loss(least_likely_class(source.logits()) if attack.targeted else labels)
    return search(
        attack.kind,
        loss,
        source.embeddings,
        mask,
        epsilon,
        attack.norm,
        attack.targeted,
        attack.num_steps,
        attack.num_restarts,
        generator=generator,
    )


def right_under_attack(
    attack: Attack,
    source: Victim,
    target: Victim,
    labels: Tensor,
    epsilons: Sequence[float],
    generator: torch.Generator,
) -> NDArray[np.bool_]:
    """Which examples keep their label at each size.

    Noise and the single step from x keep their direction at every size, which is searched once. The other attacks
    search anew at every size, but not for examples that have lost their label at a smaller one: the larger ball holds
    the smaller.

    Args:
        attack: How perturbations are found.
        source: Where they are found.
        target: Where they are applied; the source itself for a white-box attack.
        labels: The right classes, (B,).
        epsilons: Sizes, rising.
        generator: Source of randomness.

    Returns:
        Shape (sizes, B).
    """
    if attack.keeps_direction:
        unit = perturb(attack, source, labels, 1.0, generator)
        return np.stack([(target.logits(e * unit).argmax(1) == labels).cpu().numpy() for e in epsilons])
    alive = target.logits().argmax(1) == labels
    right = []
    for epsilon in epsilons:
        tried = alive.nonzero().squeeze(1)
        if len(tried):
            r = perturb(attack, source.rows(tried), labels[tried], epsilon, generator)
            alive[tried] = target.rows(tried).logits(r).argmax(1) == labels[tried]
        right.append(alive.cpu().numpy().copy())
    return np.stack(right)
