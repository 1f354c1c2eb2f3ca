"""The training objective: the supervised loss and what adversarial and virtual adversarial training add to it."""

from torch import Tensor

from textadv.adversarial.divergences import kl_divergence


def local_distributional_smoothness(clean_logits: Tensor, perturbed_logits: Tensor) -> Tensor:
    """KL(p(x) || p(x + r_vadv)), the clean prediction held fixed; needs no label.

    Miyato, Dai, Goodfellow 2017 (arXiv 1605.07725), equations 7 to 9. The name is of Miyato et al. 2016.

    Args:
        clean_logits: Logits at x, (B, C); no gradient flows to them.
        perturbed_logits: Logits at x + r_vadv, (B, C).

    Returns:
        The loss per example in nats, (B,).
    """
    return kl_divergence(clean_logits.detach(), perturbed_logits)


def ramp(step: int, ramp_steps: int) -> float:
    """Factor on the weights of the perturbed losses, rising linearly over the first `ramp_steps` steps.

    Args:
        step: Optimizer steps taken so far.
        ramp_steps: Length of the rise; 0 for none.

    Returns:
        A factor in (0, 1].
    """
    return min(1.0, (step + 1) / max(ramp_steps, 1))


def total_loss(
    supervised: Tensor,
    adversarial: Tensor | None,
    smoothness: Tensor | None,
    adv_weight: float,
    vat_weight: float,
    supervised_weight: float = 1.0,
) -> Tensor:
    """The weighted sum of supervised loss, mean adversarial loss and mean smoothness loss.

    With the weights a and 1 - a of the first two it is the mixed objective of Goodfellow et al. 2015 (arXiv 1412.6572),
    section 6; with weights of 1 that of Miyato et al. 2017. A perturbed term that is None or has the weight 0 is left
    out, not multiplied by 0.

    Args:
        supervised: Mean cross entropy of the labeled examples, a scalar.
        adversarial: Cross entropy of the same examples at x + r_adv, (B,), or None.
        smoothness: Local distributional smoothness of labeled and unlabeled examples, (B',), or None.
        adv_weight: Weight of the adversarial loss.
        vat_weight: Weight of the smoothness loss.
        supervised_weight: Weight of the supervised loss.

    Returns:
        The loss, a scalar.
    """
    loss = supervised_weight * supervised
    for term, weight in ((adversarial, adv_weight), (smoothness, vat_weight)):
        if term is not None and weight != 0:
            loss = loss + weight * term.mean()
    return loss
