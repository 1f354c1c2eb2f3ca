"""Attacks on a sequence of embeddings: the fast gradient sign method and its family, in L-infinity and in L2.

Every attack takes `loss`, a closure from perturbed embeddings (B, T, D) to the loss per example (B,), each from its own
example only. It seeks to raise that loss, or with `targeted` to lower it: the loss is then that of a wanted class. It
differentiates with respect to the embeddings alone, so that gradients of parameters are not touched, and returns a
constant (B, T, D), exactly zero where the mask is False, of a norm of at most `epsilon` up to rounding. `epsilon`,
`alpha` and `step_size` are norms in normalized-embedding units: for "l2" over the whole sequence, for "linf" of every
dimension of every word. The mask (B, T) is True at the positions that may change. Where an example's gradient is zero,
so is its step. `gradient` is that of the loss at the point where an attack starts, where that is known already; its
size does not matter. A generator is on the device of the embeddings; None is the global one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from textadv.adversarial.norms import Norm, project, steepest_step
from textadv.adversarial.perturbations import random_perturbation

LossFunction = Callable[[Tensor], Tensor]
Kind = Literal["fgsm", "rfgsm", "ifgsm", "pgd"]
LEAST_LIKELY: Literal["least_likely"] = "least_likely"
Target = int | Literal["least_likely"]  # number of a class, or whichever the classifier holds least likely


def gradient_at(embeddings: Tensor, loss: LossFunction) -> Tensor:
    """Gradient of the loss of each example at its embeddings, a constant, (B, T, D)."""
    x = embeddings.detach().requires_grad_()
    return torch.autograd.grad(loss(x).sum(), x)[0]


def fgsm(
    loss: LossFunction,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    norm: Norm,
    targeted: bool = False,
    gradient: Tensor | None = None,
) -> Tensor:
    """Fast gradient sign method: one step, epsilon sign(g) in L-infinity and epsilon g / ||g||_2 in L2.

    Goodfellow, Shlens, Szegedy 2015 (arXiv 1412.6572), section 4. In L2 it is the step of Miyato et al. 2017.
    """
    return iterative_fgsm(loss, embeddings, mask, epsilon, norm, epsilon, 1, targeted, gradient=gradient)


def iterative_fgsm(
    loss: LossFunction,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    norm: Norm,
    step_size: float,
    num_steps: int,
    targeted: bool = False,
    start: Tensor | None = None,
    gradient: Tensor | None = None,
) -> Tensor:
    """Basic iterative method: `num_steps` steps of the norm `step_size`, each projected back into the epsilon ball.

    Kurakin, Goodfellow, Bengio 2017 (arXiv 1607.02533), section 2.2; with `least_likely_class` as target, section 2.3.
    It starts from zero, or from a perturbation `start` in the ball. The other attacks are made of it.
    """
    r = torch.zeros_like(embeddings) if start is None else start
    for _ in range(num_steps):
        gradient = gradient_at(embeddings + r, loss) if gradient is None else gradient
        step = steepest_step(-gradient if targeted else gradient, mask, step_size, norm)
        r = project(r + step, mask, epsilon, norm)
        gradient = None
    return r


def random_fgsm(
    loss: LossFunction,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    norm: Norm,
    alpha: float,
    targeted: bool = False,
    generator: torch.Generator | None = None,
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
    return iterative_fgsm(loss, embeddings, mask, epsilon, norm, epsilon - alpha, 1, targeted, start)


def pgd(
    loss: LossFunction,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    norm: Norm,
    step_size: float,
    num_steps: int,
    num_restarts: int,
    targeted: bool = False,
    generator: torch.Generator | None = None,
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
        r = iterative_fgsm(loss, embeddings, mask, epsilon, norm, step_size, num_steps, targeted, start)
        with torch.no_grad():
            reached = -loss(embeddings + r) if targeted else loss(embeddings + r)
        higher = reached > height
        worst = torch.where(higher[:, None, None], r, worst)
        height = torch.where(higher, reached, height)
    return worst


def random_noise(
    embeddings: Tensor, mask: Tensor, epsilon: float, norm: Norm, generator: torch.Generator | None = None
) -> Tensor:
    """The control: a step of the norm `epsilon` along normal noise. L2: a uniform direction; L-infinity: random signs.

    Of the embeddings only their shape, type and device count.
    """
    return steepest_step(random_perturbation(embeddings, mask, 1.0, generator), mask, epsilon, norm)


def least_likely_class(logits: Tensor) -> Tensor:
    """The class to target that changes the meaning most, argmin_y p(y | x) (Kurakin et al. 2017, section 2.3).

    Args:
        logits: Scores of the classes at the clean embeddings, (B, C).

    Returns:
        Index of the class, (B,) int64.
    """
    return logits.argmin(1)  # not of p: where one class is certain, all others round to 0


def read_target(name: str, classes: Sequence[str]) -> Target:
    """What a name of a target means.

    Args:
        name: `least_likely`, or the name of a class.
        classes: The names of all classes.

    Returns:
        The target.

    Raises:
        ValueError: There is no such class.
    """
    if name == LEAST_LIKELY:
        return LEAST_LIKELY
    if name not in classes:
        raise ValueError(f"no class '{name}'; a target is {LEAST_LIKELY} or one of {', '.join(classes)}")
    return classes.index(name)


def aim(target: Target, logits: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
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


def search(
    kind: Kind,
    loss: LossFunction,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    norm: Norm,
    targeted: bool = False,
    num_steps: int = 5,
    num_restarts: int = 1,
    step_size: float | None = None,
    alpha: float | None = None,
    gradient: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The attack of a name: `fgsm`, `rfgsm`, `ifgsm` or `pgd`. The gradient is that at the unperturbed embeddings.

    What is not given goes by `epsilon`: `alpha` is half of it, and `step_size` such that all steps together are 2.5
    times as long, so that they can reach the border and move along it (Madry et al. 2018, section 5).
    """
    step_size = min(epsilon, 2.5 * epsilon / num_steps) if step_size is None else step_size
    alpha = epsilon / 2 if alpha is None else alpha
    attacks: dict[Kind, Callable[..., Tensor]] = {
        "fgsm": partial(fgsm, gradient=gradient),
        "rfgsm": partial(random_fgsm, alpha=alpha, generator=generator),
        "ifgsm": partial(iterative_fgsm, step_size=step_size, num_steps=num_steps, gradient=gradient),
        "pgd": partial(pgd, step_size=step_size, num_steps=num_steps, num_restarts=num_restarts, generator=generator),
    }
    return attacks[kind](loss, embeddings, mask, epsilon, norm=norm, targeted=targeted)


def _random_start(
    embeddings: Tensor, mask: Tensor, epsilon: float, norm: Norm, generator: torch.Generator | None
) -> Tensor:
    if norm == "l2":
        radius = torch.rand((len(embeddings), 1, 1), generator=generator, device=embeddings.device)
        return radius.to(embeddings.dtype) * random_perturbation(embeddings, mask, epsilon, generator)
    cube = torch.empty_like(embeddings).uniform_(-epsilon, epsilon, generator=generator)
    return project(cube, mask, epsilon, norm)
