"""Signs of gradient masking: a robustness that only hides the gradient from the attack (Athalye et al. 2018)."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.adversarial.norms import Norm, l2_norm
from textadv.corpus.batching import Batch
from textadv.evaluation.attacks import Attack, Victim, perturb, right_under_attacks
from textadv.models.classifier import Classifier

HUGE = 100.0  # times the largest size asked for
MANY_STEPS = 50
NEAR_ZERO = 0.05


class Check(NamedTuple):
    """One check of an evaluation.

    Attributes:
        name: What should hold.
        passed: Whether it does.
        detail: The figures behind it.
    """

    name: str
    passed: bool
    detail: str

    def line(self) -> str:
        """For people."""
        return f"{'pass' if self.passed else 'warn'}  {self.name}: {self.detail}"


def check_repeatability(classifier: Classifier, batch: Batch) -> Check:
    """Two passes over the same documents, from the words to the end, give the same logits."""
    first, second = (Victim.of(classifier, batch).logits() for _ in range(2))
    difference = float((first - second).abs().max())
    return Check("logits repeat", difference == 0.0, f"largest difference {difference:.3g}")


def check_gradients(victim: Victim, labels: Tensor) -> Check:
    """No example has a gradient of zero."""
    share = float((l2_norm(victim.gradient(labels)) == 0).double().mean())
    return Check("gradients are not zero", share == 0.0, f"zero for {share:.1%} of the examples")


def check_huge_perturbation(victim: Victim, labels: Tensor, epsilon: float, generator: torch.Generator) -> Check:
    """Accuracy reaches about zero when the perturbation may be huge; smaller ones count, as the ball holds them."""
    sizes = [factor * epsilon for factor in (1.0, 3.0, 10.0, 30.0, HUGE)]
    (right,) = right_under_attacks([(Attack("ifgsm", "l2"), sizes)], victim, victim, labels, generator)
    accuracy = float(right.all(0).mean())
    return Check("accuracy vanishes at a huge epsilon", accuracy <= NEAR_ZERO, f"{accuracy:.1%} at {sizes[-1]:g}")


def check_many_steps(victim: Victim, labels: Tensor, epsilon: float, generator: torch.Generator) -> Check:
    """Many steps are at least as strong as one."""
    one = _accuracy(victim, labels, perturb(Attack("fgsm", "l2"), victim, labels, epsilon, generator))
    many_steps = Attack("pgd", "l2", num_steps=MANY_STEPS)
    many = _accuracy(victim, labels, perturb(many_steps, victim, labels, epsilon, generator))
    detail = f"accuracy {many:.1%} with {MANY_STEPS} steps, {one:.1%} with one, at {epsilon:g}"
    return Check("many steps are as strong as one", many <= one, detail)


def check_monotony(curves: Mapping[str, NDArray[np.float64]]) -> Check:
    """Accuracy under the single step from x falls with the size.

    Args:
        curves: Accuracy at each size by the name of the attack.

    Returns:
        The check.
    """
    rises = {name: float(np.diff(curve).max(initial=0.0)) for name, curve in curves.items() if name.startswith("fgsm")}
    worst = max(rises, key=rises.__getitem__)
    return Check("accuracy falls with epsilon", rises[worst] <= 0, f"largest rise {rises[worst]:.1%} ({worst})")


def noise_pairs(names: Collection[str]) -> list[tuple[str, str]]:
    """The single steps and the noise of the same norm that are among the attacks of these names."""
    pairs = [(f"fgsm-{norm}", f"noise-{norm}") for norm in get_args(Norm)]
    return [pair for pair in pairs if set(pair) <= set(names)]


def check_noise(curves: Mapping[str, NDArray[np.float64]]) -> Check:
    """Random directions never beat the gradient.

    Args:
        curves: Accuracy at each size by the name of the attack, with at least one of the `noise_pairs`.

    Returns:
        The check.
    """
    gap = max(float((curves[step] - curves[noise]).max()) for step, noise in noise_pairs(curves.keys()))
    return Check("noise is weaker than the gradient", gap <= 0, f"noise ahead by at most {max(gap, 0.0):.1%}")


def check_transfer(
    white_box: Mapping[str, NDArray[np.float64]], transferred: Mapping[str, NDArray[np.float64]]
) -> Check:
    """Perturbations found on another classifier never beat those found on this one."""
    names = [name for name in white_box if not name.startswith("noise-")]
    lead = max(float((white_box[name] - transferred[name]).max()) for name in names)
    return Check("transfer is weaker than white-box", lead <= 0, f"transfer ahead by at most {max(lead, 0.0):.1%}")


def _accuracy(victim: Victim, labels: Tensor, r: Tensor) -> float:
    return float((victim.logits(r).argmax(1) == labels).double().mean())
