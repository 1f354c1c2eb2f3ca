"""Numbers of a report that neither evaluation nor attacks yield: the loss along directions, smoothness."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.adversarial.attacks import Attack
from textadv.adversarial.divergences import cross_entropy, local_distributional_smoothness
from textadv.adversarial.virtual import in_closed_form, virtual_direction
from textadv.evaluation.attacks import clean_pass, perturb
from textadv.evaluation.samples import Sample
from textadv.models.classifier import Classifier
from textadv.precision import in_float64

STEPS = 10
RANDOM_DIRECTIONS = 3  # per document
XI, POWER_ITERATIONS = 0.1, 10  # with fewer iterations a checkpoint would look smoother than it is
SPREAD = (10, 90)  # percent of the documents


@dataclass(frozen=True)
class Spread:
    """A quantity at each size of a perturbation: mean over the documents, edges of the middle 80 % of them."""

    mean: list[float]
    low: list[float]
    high: list[float]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Spread":
        """Over the last axis, (sizes, n)."""
        low, high = np.percentile(values, SPREAD, axis=1)
        return cls(values.mean(axis=1).tolist(), low.tolist(), high.tolist())


@dataclass(frozen=True)
class Profile:
    """Cross entropy of the label and its margin, z_y - log sum_{c != y} exp(z_c), along a direction, in nats."""

    loss: Spread
    margin: Spread


@dataclass(frozen=True)
class Directions:
    """How loss and margin change along directions."""

    epsilons: list[float]  # how far the directions are followed, L2 norms over the whole sequence
    gradient: Profile  # along the gradient of the loss
    random: Profile  # along random directions
    linearity: float  # share of the margin's variance along the gradient that a straight line explains, the mean
    documents: int  # how many there are


@dataclass(frozen=True)
class Smoothness:
    """Local distributional smoothness of each document, in nats, at one size of the perturbation."""

    epsilon: float
    values: list[float]


@torch.no_grad()
def along_directions(
    classifier: Classifier, sample: Sample, largest: float, seed: int, device: str = "cpu"
) -> Directions:
    """How loss and margin change along the gradient and along random directions.

    A network is easy to mislead because it is too linear (Goodfellow, Shlens, Szegedy 2015, section 3): along the
    gradient of the loss the margin falls on a nearly straight line, and along a random direction next to nothing
    happens.

    Args:
        classifier: In evaluation mode, on the device.
        sample: The documents.
        largest: Length up to which the directions are followed, an L2 norm over the whole sequence.
        seed: Seed of the random directions.
        device: Such as `cuda`.
    """
    epsilons = np.linspace(0, largest, STEPS + 1)
    generator = torch.Generator(device).manual_seed(seed)
    attacks = [Attack("fgsm", "l2"), *[Attack("noise", "l2")] * RANDOM_DIRECTIONS]
    values: list[list[NDArray[np.float64]]] = [[] for _ in attacks]
    for _, batch in sample.batches(device, "following directions"):
        clean = clean_pass(classifier, batch)
        for attack, found in zip(attacks, values, strict=True):
            unit = perturb(attack, clean, batch.labels, 1.0, generator)
            scores = [_loss_and_margin(clean.logits_at(float(e) * unit), batch.labels) for e in epsilons]
            found.append(in_float64(torch.stack(scores)).cpu().numpy())  # (E, 2, B)
    gradient, *random = (np.concatenate(parts, axis=2) for parts in values)
    return Directions(
        epsilons.tolist(),
        gradient=Profile(*map(Spread.of, gradient.swapaxes(0, 1))),
        random=Profile(*map(Spread.of, np.concatenate(random, axis=2).swapaxes(0, 1))),
        linearity=float(np.mean([_straightness(epsilons, margin) for margin in gradient[:, 1].T])),
        documents=len(sample.rows),
    )


@torch.no_grad()
def smoothness(
    classifier: Classifier, sample: Sample, epsilons: Sequence[float], seed: int, device: str = "cpu"
) -> list[Smoothness]:
    """Local distributional smoothness of documents, along the virtual adversarial direction.

    As in training by default, the direction is had in closed form for few classes and by power iteration for more,
    whose time and memory do not grow with the classes.

    Arguments are those of `along_directions`, and sizes of the perturbation, L2 norms over the whole sequence. For each
    of them there are the values of every document in the order of the sample.
    """
    generator = torch.Generator(device).manual_seed(seed)
    values = np.empty((len(epsilons), len(sample.rows)))
    for places, batch in sample.batches(device, "measuring smoothness"):
        clean = clean_pass(classifier, batch)
        closed_form = in_closed_form(clean.logits)
        x, logits = clean.embeddings, clean.logits
        if closed_form:  # which needs the graph from the embeddings to the logits
            with torch.enable_grad():
                logits = clean.classify(x.requires_grad_())
        direction = virtual_direction(
            clean.classify, x, logits, clean.mask, closed_form, XI, POWER_ITERATIONS, generator
        )
        for row, epsilon in zip(values, epsilons, strict=True):
            lds = local_distributional_smoothness(clean.logits, clean.logits_at(epsilon * direction))
            row[places] = in_float64(lds.clamp(min=0)).cpu().numpy()  # rounding can take it below 0
    return [Smoothness(epsilon, row.tolist()) for epsilon, row in zip(epsilons, values, strict=True)]


def _loss_and_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, and the label's logit above the others taken together, (2, B)."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return torch.stack([cross_entropy(logits, labels), own - others])


def _straightness(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Share of the variance of y that a straight line in x explains; 1 where y is constant."""
    if np.ptp(y) == 0:
        return 1.0
    return float(np.corrcoef(x, y)[0, 1] ** 2)
