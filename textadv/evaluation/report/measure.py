"""Numbers of a report that neither evaluation nor attacks yield: the loss along directions, smoothness."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.adversarial.attacks import Attack
from textadv.adversarial.divergences import cross_entropy, local_distributional_smoothness
from textadv.adversarial.norms import perturbation_mask
from textadv.adversarial.virtual import in_closed_form, virtual_direction
from textadv.corpus.batching import Batch, Documents, Indices, sequential_batches
from textadv.corpus.store import Split
from textadv.evaluation.attacks import Victim, perturb
from textadv.evaluation.robustness import BATCH_TOKENS
from textadv.models.classifier import Classifier
from textadv.system.progress import progress

STEPS = 10
RANDOM_DIRECTIONS = 3  # per document
XI, POWER_ITERATIONS = 0.1, 10  # with fewer iterations a checkpoint would look smoother than it is
SPREAD = (10, 90)  # percent of the documents


class Sample(NamedTuple):
    """Documents of a split on which something is measured."""

    split: Split
    rows: Indices

    def batches(self, description: str, device: str) -> Iterator[tuple[Indices, Batch]]:
        """Batches, with the place of each document among the rows; shows how far it got."""
        documents = Documents(self.split)
        parts = sequential_batches(documents.lengths[self.rows], BATCH_TOKENS)
        for part in progress(parts, len(parts), description):
            yield part, documents.batch(self.rows[part]).to(device)


def along_directions(
    classifier: Classifier, sample: Sample, largest: float, seed: int, device: str = "cpu"
) -> dict[str, Any]:
    """How loss and margin change along the gradient and along random directions.

    A network is easy to mislead because it is too linear (Goodfellow, Shlens, Szegedy 2015, section 3): along the
    gradient of the loss the margin z_y - log sum_{c != y} exp(z_c) falls on a nearly straight line, and along a random
    direction next to nothing happens.

    Args:
        classifier: In evaluation mode, on the device.
        sample: The documents, n of them.
        largest: Length up to which the directions are followed, an L2 norm over the whole sequence.
        seed: Seed of the random directions.
        device: Where the classifier is.

    Returns:
        `epsilons`; under `gradient` and `random`, for `loss` and `margin`, `mean`, `low` and `high` at each of them;
        `linearity`, the share of the margin's variance along the gradient that a straight line explains, the mean over
        the documents; `documents`, n.
    """
    epsilons = np.linspace(0, largest, STEPS + 1)
    generator = torch.Generator(device).manual_seed(seed)
    kinds = {"gradient": [Attack("fgsm", "l2")], "random": [Attack("noise", "l2")] * RANDOM_DIRECTIONS}
    values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in kinds}
    for _, batch in sample.batches("following directions", device):
        victim = Victim.of(classifier, batch)
        for name, attacks in kinds.items():
            for attack in attacks:
                unit = perturb(attack, victim, batch.labels, 1.0, generator)
                scores = [_loss_and_margin(victim.logits(float(e) * unit), batch.labels) for e in epsilons]
                values[name].append(torch.stack(scores).double().cpu().numpy())  # (E, 2, B)
    joined = {name: np.concatenate(pieces, axis=2) for name, pieces in values.items()}
    summaries = {
        name: {"loss": _summary(array[:, 0]), "margin": _summary(array[:, 1])} for name, array in joined.items()
    }
    linearity = float(np.mean([_straightness(epsilons, margin) for margin in joined["gradient"][:, 1].T]))
    return {"epsilons": epsilons.tolist(), **summaries, "linearity": linearity, "documents": len(sample.rows)}


def smoothness(
    classifier: Classifier, sample: Sample, epsilons: Sequence[float], seed: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Local distributional smoothness of documents, along the virtual adversarial direction.

    As in training by default, the direction is had in closed form for few classes and by power iteration for more,
    whose time and memory do not grow with the classes.

    Args:
        classifier: In evaluation mode, on the device.
        sample: The documents, n of them.
        epsilons: Sizes of the perturbation, L2 norms over the whole sequence.
        seed: Seed of the signs and starts.
        device: Where the classifier is.

    Returns:
        For each size `epsilon` and `values`, in nats, of every document in the order of the sample.
    """
    generator = torch.Generator(device).manual_seed(seed)
    values = np.empty((len(epsilons), len(sample.rows)))
    for places, batch in sample.batches("measuring smoothness", device):
        victim = Victim.of(classifier, batch)
        clean = victim.logits()
        direction = _virtual_direction(classifier.classify, victim, in_closed_form(clean), generator)
        for row, epsilon in zip(values, epsilons, strict=True):
            lds = local_distributional_smoothness(clean, victim.logits(epsilon * direction))
            row[places] = lds.clamp(min=0).double().cpu().numpy()  # rounding can take it below 0
    return [{"epsilon": e, "values": row.tolist()} for e, row in zip(epsilons, values, strict=True)]


def _virtual_direction(
    classify: Callable[[Tensor, Tensor], Tensor], victim: Victim, in_closed_form: bool, generator: torch.Generator
) -> Tensor:
    x = victim.embeddings.clone().requires_grad_(in_closed_form)
    with torch.set_grad_enabled(in_closed_form):
        logits = classify(x, victim.lengths)
    mask = perturbation_mask(victim.lengths, x)
    return virtual_direction(
        lambda x: classify(x, victim.lengths), x, logits, mask, in_closed_form, XI, POWER_ITERATIONS, generator
    )


def _loss_and_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, and the label's logit above the others taken together, (2, B)."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return torch.stack([cross_entropy(logits, labels), own - others])


def _summary(values: NDArray[np.float64]) -> dict[str, list[float]]:
    """Mean and spread over the last axis."""
    low, high = np.percentile(values, SPREAD, axis=1)
    return {"mean": values.mean(axis=1).tolist(), "low": low.tolist(), "high": high.tolist()}


def _straightness(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Share of the variance of y that a straight line in x explains; 1 where y is constant."""
    if np.ptp(y) == 0:
        return 1.0
    return float(np.corrcoef(x, y)[0, 1] ** 2)
