"""Virtual adversarial directions: where the prediction changes fastest, found without a label.

KL(p(x) || p(x + r)) has at r = 0 the value 0, the gradient 0 and the Hessian H = J^T (diag p - p p^T) J, exactly, with
J the Jacobian of the logits z. The virtual adversarial direction of Miyato et al. 2017 (arXiv 1605.07725) is the top
eigenvector of H. The paper approximates it by power iteration; H has a rank of at most C - 1, so it can be had in
closed form from the gradients of C - 1 differences of logits. For two classes that is one gradient, of z_0 - z_1, and
the gradient of the cross entropy is a multiple of it: the adversarial perturbation lies on the same line.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from textadv.adversarial.divergences import local_distributional_smoothness
from textadv.adversarial.gradients import gradients_of
from textadv.adversarial.norms import l2_norm, random_noise, random_signs, scale_to_norm
from textadv.draws import Generator
from textadv.precision import full_precision, in_float64, without_autocast

CLOSED_FORM_CLASSES = 3  # beyond it the power iteration is faster; measured: docs/PERFORMANCE.md


def in_closed_form(logits: Tensor, direction: Literal["auto", "closed_form", "power_iteration"] = "auto") -> bool:
    """Whether `virtual_direction` is to take the closed form, by default up to `CLOSED_FORM_CLASSES` classes.

    Args:
        logits: Scores of the classes, (B, C).
        direction: What was asked for.

    Returns:
        False for the power iteration.
    """
    return direction == "closed_form" or (direction == "auto" and logits.shape[1] <= CLOSED_FORM_CLASSES)


def logit_gradients(logits: Tensor, embeddings: Tensor) -> Tensor:
    """Gradients of z_c - z_{C-1} with respect to the embeddings, for every class c but the last.

    Takes C - 1 backward passes and keeps the graph for the loss's own one. Gradients of parameters are not touched.

    Args:
        logits: Computed from `embeddings`, each row from its own example only, (B, C) with C >= 2.
        embeddings: Point of the gradients, part of the graph of `logits`, (B, T, D).

    Returns:
        The gradients, (C - 1, B, T, D).
    """
    with torch.enable_grad():  # also where a loss is only measured
        differences = (logits[:, :-1] - logits[:, -1:]).sum(0)
        return torch.stack([gradients_of(z, [embeddings], retain_graph=True)[0] for z in differences])


def closed_form_direction(logits: Tensor, logit_gradients: Tensor, mask: Tensor, generator: Generator = None) -> Tensor:
    """Top eigenvector of H = J^T (diag p - p p^T) J, the Hessian of KL(p(x) || p(x + r)) at r = 0.

    With a factor F F^T = diag p - p p^T the eigenvectors of H are J^T F v, v those of the C x C matrix F^T J J^T F.
    For two classes H has rank one, and its only direction is the gradient of z_0 - z_1, whatever p is. The sign of an
    eigenvector is free: it is drawn at random, as a power iteration from a random start would find it.

    Args:
        logits: Scores of the classes, (B, C).
        logit_gradients: From `logit_gradients`, (C - 1, B, T, D).
        mask: True at the positions that may change, (B, T).
        generator: Source of the signs, on the device of the logits; the global one if None.

    Returns:
        Directions of L2 norm 1 over the whole sequence, (B, T, D); zero for an example whose gradients are zero.
    """
    gradients = logit_gradients.detach()
    direction = gradients[0] if len(gradients) == 1 else _top_eigenvector(logits.detach(), gradients, mask)
    return random_signs(direction, generator) * scale_to_norm(direction, mask, 1.0)


def power_iteration(
    divergence: Callable[[Tensor], Tensor],
    embeddings: Tensor,
    mask: Tensor,
    xi: float,
    num_power_iterations: int,
    generator: Generator = None,
) -> Tensor:
    """Approximate the top eigenvector of the Hessian H of `divergence` at r = 0 by repeating d <- H d / ||H d||_2.

    Miyato, Dai, Goodfellow 2017 (arXiv 1605.07725), section 3. The gradient at r = 0 is 0, so H d points along the
    gradient at r = xi d. Gradients of parameters are not touched. The closure should compute in float32, as bfloat16
    loses a small xi.

    Args:
        divergence: From perturbed embeddings (B, T, D) to KL(clean || perturbed) per example (B,), clean held fixed.
        embeddings: The clean embeddings, (B, T, D).
        mask: True at the positions that may change, (B, T).
        xi: Step of the finite difference: L2 norm over the whole sequence, in normalized-embedding units.
        num_power_iterations: Iterations, each a forward and a backward pass; 0 leaves the random start.
        generator: Source of the random start, on the device of the embeddings; the global one if None.

    Returns:
        Directions of L2 norm 1 over the whole sequence, (B, T, D). An example whose gradient is zero keeps the
        direction it had.
    """
    direction = random_noise(embeddings, mask, 1.0, "l2", generator)
    for _ in range(num_power_iterations):
        r = (xi * direction).requires_grad_()
        with torch.enable_grad():  # also where the losses are only measured
            (gradient,) = gradients_of(divergence(embeddings.detach() + r), [r])
        step = scale_to_norm(gradient, mask, 1.0)
        direction = torch.where(l2_norm(step)[:, None, None] > 0, step, direction)
    return direction


def virtual_direction(
    classify: Callable[[Tensor], Tensor],
    embeddings: Tensor,
    logits: Tensor,
    mask: Tensor,
    closed_form: bool,
    xi: float,
    num_power_iterations: int,
    generator: Generator = None,
) -> Tensor:
    """The virtual adversarial direction, in closed form or by power iteration.

    The closed form takes the time and the memory of C - 1 gradients. The power iteration runs in full precision, as
    bfloat16 or TensorFloat-32 would lose a step of size xi.

    Args:
        classify: From embeddings (B, T, D) to logits (B, C), each row from its own example only.
        embeddings: The clean embeddings, part of the graph of `logits` where the form is closed, (B, T, D).
        logits: `classify(embeddings)`, perhaps under autocast.
        mask: True at the positions that may change, (B, T).
        closed_form: Which of the two, see `in_closed_form`.
        xi: As in `power_iteration`.
        num_power_iterations: As in `power_iteration`.
        generator: Source of randomness, on the device of the embeddings; the global one if None.

    Returns:
        Directions of L2 norm 1 over the whole sequence, (B, T, D).
    """
    if closed_form:
        return closed_form_direction(logits, logit_gradients(logits, embeddings), mask, generator)
    fixed, at = logits.detach(), embeddings.detach()
    at = at.to(torch.promote_types(at.dtype, torch.float32))  # from a layer under autocast they are in half precision
    with full_precision(at.device):
        # Computed under autocast, or in TensorFloat-32: rounding would look like a change of the prediction.
        if fixed.dtype != at.dtype or at.device.type == "cuda":
            with torch.no_grad():
                fixed = classify(at)
        return power_iteration(
            lambda x: local_distributional_smoothness(fixed, classify(x)),
            at,
            mask,
            xi,
            num_power_iterations,
            generator,
        )


def _top_eigenvector(logits: Tensor, logit_gradients: Tensor, mask: Tensor) -> Tensor:
    """Top eigenvector of H, of any norm, (B, T, D), by way of the C x C matrix."""
    num_gradients, batch_size, width, size = logit_gradients.shape
    # Stacked along the time, so that all gradients of an example get one scale and no product over- or underflows.
    stacked = scale_to_norm(logit_gradients.movedim(0, 1).flatten(1, 2), mask.repeat(1, num_gradients), 1.0)
    jacobian = stacked.reshape(batch_size, num_gradients, width * size)
    factor = _covariance_factor(in_float64(logits))[:, :-1]  # (B, C - 1, C), as z_{C-1} is the reference
    with without_autocast(jacobian.device):
        gram = jacobian @ jacobian.mT  # (B, C - 1, C - 1)
        matrix = factor.mT @ in_float64(gram) @ factor
        broken = ~matrix.isfinite().all(dim=2, keepdim=True).all(dim=1, keepdim=True)  # which `eigh` refuses
        _, vectors = torch.linalg.eigh(matrix.masked_fill(broken, 0.0))
        coefficients = (factor @ vectors[:, :, -1:]).masked_fill(broken, torch.nan).mT  # (B, 1, C - 1)
        direction: Tensor = coefficients.to(jacobian) @ jacobian
    return direction.view(batch_size, width, size)


def _covariance_factor(logits: Tensor) -> Tensor:
    """Factor F of the covariance of the class indicator: F F^T = (diag p - p p^T) / m, columns summing to 0, (B, C, C).

    With k the likeliest class and q the other probabilities, diag q - q q^T = S S^T for
    S = diag(sqrt q) - q sqrt(q)^T / (1 + sqrt(p_k)), and row k of F is minus the sum of the others. Taken in units
    of m, the largest of q, nothing cancels or underflows, and F stays right where p_k rounds to 1.
    """
    log_p = F.log_softmax(logits, dim=1)
    top = log_p.argmax(1, keepdim=True)
    rest = log_p.scatter(1, top, -torch.inf)
    log_m = rest.amax(1, keepdim=True)
    q = (rest - log_m).exp()  # (B, C), in units of m; 0 at the likeliest class
    root = q.sqrt()
    shrinkage = log_m.exp() / (1 + (log_p.gather(1, top) / 2).exp())
    factor = torch.diag_embed(root) - (shrinkage * q)[:, :, None] * root[:, None, :]
    others = factor.sum(1, keepdim=True)
    return factor.scatter(1, top[:, :, None].expand_as(others), -others)


def curvature(logits: Tensor, logit_gradients: Tensor, direction: Tensor) -> Tensor:
    """Second derivative d^T H d of KL(p(x) || p(x + r)) at r = 0 along a direction d: the variance of J d under p.

    At the top eigenvector it is the largest eigenvalue lambda, so that KL(p(x) || p(x + epsilon d)) is about
    epsilon^2 lambda / 2.

    Args:
        logits: Scores of the classes, (B, C).
        logit_gradients: From `logit_gradients`, (C - 1, B, T, D).
        direction: Directions of L2 norm 1, zero where nothing may change, (B, T, D).

    Returns:
        The curvature in nats per squared unit of the embeddings, a constant, (B,).
    """
    with without_autocast(logits.device):
        slopes = (logit_gradients.detach() * direction).sum((2, 3)).T  # (B, C - 1), as z_{C-1} is the reference
    slopes = F.pad(slopes, (0, 1))
    p = logits.detach().to(slopes).softmax(1)
    return (p * (slopes - (p * slopes).sum(1, keepdim=True)).square()).sum(1)


def epsilon_of_divergence(target: float, mean_curvature: Tensor, bound: float) -> Tensor:
    """The size at which the mean of KL(p(x) || p(x + r_vadv)) is about `target`: sqrt(2 target / lambda), bounded.

    Args:
        target: Mean divergence in nats, above 0.
        mean_curvature: Mean of `curvature` over the texts of a step, a scalar.
        bound: Largest size, for where the prediction hardly changes at all.

    Returns:
        Epsilon, an L2 norm, a scalar.
    """
    return (2 * target / mean_curvature).sqrt().clamp(max=bound)
