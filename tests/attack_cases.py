"""The attacks, and a small problem for them, that the tests of attacks share."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from textadv.adversarial.attacks import LossFunction, fgsm, iterative_fgsm, pgd, random_fgsm
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.norms import Norm

MakeClassifier = Callable[..., nn.Module]
LABELS = torch.tensor([0, 1, 1])
EPSILON = 0.5
NORMS: tuple[Norm, ...] = ("l2", "linf")
ATTACKS: dict[str, Callable[..., Tensor]] = {
    "fgsm": fgsm,
    "iterative_fgsm": partial(iterative_fgsm, step_size=0.2, num_steps=4),
    "momentum": partial(iterative_fgsm, step_size=0.2, num_steps=4, decay=1.0),
    "random_fgsm": partial(random_fgsm, alpha=0.05),
    "pgd": partial(pgd, step_size=0.2, num_steps=2, num_restarts=3),
}

each_norm = pytest.mark.parametrize("norm", NORMS)
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
each_side = pytest.mark.parametrize("targeted", [False, True])


def loss_of(classifier: nn.Module) -> LossFunction:
    return lambda perturbed: cross_entropy(classifier(perturbed), LABELS)


def aimed(loss: LossFunction, targeted: bool) -> LossFunction:
    """What an attack raises: a targeted one lowers the loss."""
    return (lambda x: -loss(x)) if targeted else loss


def generator_of(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
