"""Attacks on a sequence of embeddings: the fast gradient sign method and its family, in L-infinity and in L2.

`perturb` finds the perturbation that an `Attack` describes; training, evaluation and report all go through it. It is
made of plain functions, one for each attack. They take `loss`, a closure from perturbed embeddings (B, T, D) to the
loss per example (B,), each from its own example only, and seek to raise it: a targeted attack raises the negative loss
of the wanted class. They differentiate with respect to the embeddings alone, so that gradients of parameters are not
touched, and return a constant (B, T, D), exactly zero where the mask is False, of a norm of at most `epsilon` up to
rounding. `epsilon`, `alpha` and `step_size` are norms in normalized-embedding units: for "l2" over the whole sequence,
for "linf" of every dimension of every word. The mask (B, T) is True at the positions that may change. Where an
example's gradient is zero, so is its step. `gradient` is that of the loss at the unperturbed embeddings, where that is
known already; its size does not matter. A generator is on the device of the embeddings; None is the global one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.gradients import gradients_of
from textadv.adversarial.interpretable import interpretable_perturbation
from textadv.adversarial.norms import Norm, project, random_noise, steepest_step
from textadv.draws import Generator, uniform
from textadv.precision import computes_in_float16

LossFunction = Callable[[Tensor], Tensor]
Classify = Callable[[Tensor], Tensor]  # from embeddings (B, T, D) to logits (B, C), each row from its own example only
Kind = Literal["noise", "fgsm", "rfgsm", "ifgsm", "mifgsm", "pgd", "interpretable"]
LEAST_LIKELY: Literal["least_likely"] = "least_likely"
Target = int | Literal["least_likely"]  # number of a class, or whichever the classifier holds least likely


@dataclass(frozen=True)
class Attack:
    """A way to find a perturbation of a given size.

    Attributes:
        kind: Random noise (the control), one step (`fgsm`), a random step and one step (`rfgsm`), several steps
            (`ifgsm`), those with momentum (`mifgsm`), those from random starts (`pgd`), or one step along the
            directions to other words (`interpretable`).
        norm: What measures the size: `l2` over the whole sequence, or `linf`. That of `interpretable` is the L2 norm of
            the weights of its directions.
        target: The class to move towards; None for away from the label.
        num_steps: Steps of `ifgsm`, `mifgsm` and `pgd`.
        step_size: Length of such a step; None for 2.5 epsilon / num_steps, so that all together can reach the border
            and move along it (Madry et al. 2018, section 5), and at most epsilon.
        num_restarts: Random starts of `pgd`.
        alpha: Length of the random step of `rfgsm`; None for epsilon / 2.
        decay: Factor on the momentum of `mifgsm` in each step.
    """

    kind: Kind = "fgsm"
    norm: Norm = "l2"
    target: Target | None = None
    num_steps: int = 3
    step_size: float | None = None
    num_restarts: int = 1
    alpha: float | None = None
    decay: float = 1.0

    @property
    def is_the_papers(self) -> bool:
        """Whether it is the single step in L2 of Miyato et al. 2017, away from the label."""
        return self.kind == "fgsm" and self.norm == "l2" and self.target is None

    @property
    def needs_directions(self) -> bool:
        """Whether `perturb` has to be given directions to other words."""
        return self.kind == "interpretable"

    @property
    def keeps_direction(self) -> bool:
        """Whether the perturbation of another size is a multiple."""
        return self.kind in ("noise", "fgsm", "interpretable")


def perturb(
    attack: Attack,
    classify: Classify,
    embeddings: Tensor,
    labels: Tensor,
    mask: Tensor,
    epsilon: float,
    logits: Tensor | None = None,
    gradient: Tensor | None = None,
    directions: Tensor | None = None,
    generator: Generator = None,
) -> Tensor:
    """The perturbation that an attack finds.

    Args:
        attack: How.
        classify: The classifier, from embeddings (B, T, D) to logits (B, C).
        embeddings: The point that is perturbed, (B, T, D).
        labels: The right classes, (B,). Examples of the class that is the target are left alone.
        mask: True at the positions that may change, (B, T).
        epsilon: Size of the perturbation in the attack's norm, in normalized-embedding units.
        logits: `classify(embeddings)`, where it is known already; read for `least_likely` only.
        gradient: Gradient of the cross entropy of the labels at the embeddings, of any size for each example, where it
            is known already, (B, T, D).
        directions: Unit vectors from each word to others, (B, T, K, D), of `interpretable`; K may be 0.
        generator: Source of randomness.

    Returns:
        r, a constant, (B, T, D).
    """
    embeddings = embeddings.detach()
    if attack.kind == "noise":
        return random_noise(embeddings, mask, epsilon, attack.norm, generator)
    sign = 1.0
    if attack.target is not None:
        if logits is None:
            with torch.no_grad():
                logits = classify(embeddings)
        labels, mask = targeted_labels(attack.target, logits, labels, mask)
        sign, gradient = -1.0, None

    def loss(x: Tensor) -> Tensor:
        return sign * cross_entropy(classify(x), labels)

    norm, num_steps = attack.norm, attack.num_steps
    step_size = min(epsilon, 2.5 * epsilon / num_steps) if attack.step_size is None else attack.step_size
    if attack.kind == "fgsm":
        return fgsm(loss, embeddings, mask, epsilon, norm, gradient)
    if attack.kind == "rfgsm":
        alpha = epsilon / 2 if attack.alpha is None else attack.alpha
        return random_fgsm(loss, embeddings, mask, epsilon, norm, alpha, generator)
    if attack.kind in ("ifgsm", "mifgsm"):
        decay = attack.decay if attack.kind == "mifgsm" else 0.0
        return iterative_fgsm(loss, embeddings, mask, epsilon, norm, step_size, num_steps, None, gradient, decay)
    if attack.kind == "pgd":
        return pgd(loss, embeddings, mask, epsilon, norm, step_size, num_steps, attack.num_restarts, generator)
    if directions is None:
        raise ValueError("an interpretable perturbation needs directions")
    gradient = gradient_at(embeddings, loss) if gradient is None else gradient
    return interpretable_perturbation(gradient, directions, mask, epsilon)[0]


def gradient_at(embeddings: Tensor, loss: LossFunction) -> Tensor:
    """Gradient of the loss of each example at its embeddings, of any size in float16, a constant, (B, T, D)."""
    x = embeddings.detach().requires_grad_()
    with torch.enable_grad():  # also where a loss is only measured
        values = loss(x)
        if computes_in_float16(x):  # where the gradient of a text that is surely right would be 0
            values = values / values.detach().abs().clamp(1e-6, 1.0)
        return gradients_of(values, [x])[0]


def fgsm(
    loss: LossFunction,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    norm: Norm = "l2",
    gradient: Tensor | None = None,
) -> Tensor:
    """Fast gradient sign method: one step, epsilon sign(g) in L-infinity and epsilon g / ||g||_2 in L2.

    Goodfellow, Shlens, Szegedy 2015 (arXiv 1412.6572), section 4. In L2 it is r_adv of Miyato et al. 2017 (arXiv
    1605.07725), equations 5 and 6.
    """
    gradient = gradient_at(embeddings, loss) if gradient is None else gradient
    return steepest_step(gradient, mask, epsilon, norm)


def iterative_fgsm(
    loss: LossFunction,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    norm: Norm,
    step_size: float,
    num_steps: int,
    start: Tensor | None = None,
    gradient: Tensor | None = None,
    decay: float = 0.0,
) -> Tensor:
    """Basic iterative method: `num_steps` steps of the norm `step_size`, each projected back into the epsilon ball.

    Kurakin, Goodfellow, Bengio 2017 (arXiv 1607.02533), section 2.2; with `least_likely_class` as target, section 2.3.
    It starts from zero, or from a perturbation `start` in the ball. With a `decay` above 0 it is the momentum iterative
    method (MI-FGSM): the direction is that of m <- decay m + g / ||g||_1, which escapes poor local maxima and transfers
    better to other classifiers (Dong et al. 2018, arXiv 1710.06081, algorithm 1).
    """
    r = torch.zeros_like(embeddings) if start is None else start
    momentum: Tensor | float = 0.0
    for _ in range(num_steps):
        gradient = gradient_at(embeddings + r, loss) if gradient is None else gradient
        if decay:
            unit = steepest_step(gradient, mask, 1.0, "l2")  # first, since a sum of tiny numbers would underflow
            momentum = decay * momentum + unit / unit.abs().sum((1, 2), keepdim=True).clamp_min(1.0)
            gradient = momentum
        r = project(r + steepest_step(gradient, mask, step_size, norm), mask, epsilon, norm)
        gradient = None
    return r


def random_fgsm(
    loss: LossFunction,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    norm: Norm,
    alpha: float,
    generator: Generator = None,
) -> Tensor:
    """R+FGSM: a random step of the norm `alpha`, then FGSM from there with epsilon - alpha.

    Tramèr et al. 2018 (arXiv 1705.07204). The random step leaves the point where a defended model may
    have hidden its gradient.

    Raises:
        ValueError: Unless 0 <= alpha <= epsilon.
    """
    if not 0 <= alpha <= epsilon:
        raise ValueError(f"alpha must be between 0 and epsilon = {epsilon}, not {alpha}")
    start = random_noise(embeddings, mask, alpha, norm, generator)
    return iterative_fgsm(loss, embeddings, mask, epsilon, norm, epsilon - alpha, 1, start)


def pgd(
    loss: LossFunction,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    norm: Norm,
    step_size: float,
    num_steps: int,
    num_restarts: int,
    generator: Generator = None,
) -> Tensor:
    """Projected gradient: the iterative method from `num_restarts` random starts; every example keeps its worst end.

    Madry et al. 2018 (arXiv 1706.06083). Starts are uniform in the L-infinity ball. In the L2 ball their directions
    and their radii are: uniform points of so many dimensions would all lie at its surface. An example for which no end
    has a loss that can be compared (NaN) stays unperturbed.
    """
    worst = torch.zeros_like(embeddings)
    height = embeddings.new_full((len(embeddings),), -torch.inf)
    for _ in range(num_restarts):
        start = _random_start(embeddings, mask, epsilon, norm, generator)
        r = iterative_fgsm(loss, embeddings, mask, epsilon, norm, step_size, num_steps, start)
        with torch.no_grad():
            reached = loss(embeddings + r)
        higher = reached > height
        worst = torch.where(higher[:, None, None], r, worst)
        height = torch.where(higher, reached, height)
    return worst


def least_likely_class(logits: Tensor) -> Tensor:
    """The class to target that changes the meaning most, argmin_y p(y | x) (Kurakin et al. 2017, section 2.3).

    Args:
        logits: Scores of the classes at the clean embeddings, (B, C).

    Returns:
        Index of the class, (B,) int64.
    """
    return logits.argmin(1)  # not of p: where one class is certain, all others round to 0


def targeted_labels(target: Target, logits: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Where a targeted attack goes. Examples that are of the wanted class already are left alone.

    Args:
        target: The wanted class.
        logits: Scores of the classes at the clean embeddings, (B, C).
        labels: The right classes, (B,).
        mask: True at the positions that may change, (B, T).

    Returns:
        The wanted class of each example, (B,) int64, and the mask, all False where that is its label.
    """
    wanted = least_likely_class(logits) if target == LEAST_LIKELY else torch.full_like(labels, target)
    return wanted, mask & (wanted != labels)[:, None]


def _random_start(embeddings: Tensor, mask: Tensor, epsilon: float, norm: Norm, generator: Generator) -> Tensor:
    if norm == "l2":
        radius = uniform(embeddings[:, 0, :1], generator)[:, None]  # (B, 1, 1)
        return radius * random_noise(embeddings, mask, epsilon, norm, generator)
    return project(epsilon * (2 * uniform(embeddings, generator) - 1), mask, epsilon, norm)
