"""The two losses in one call each, for any torch model that classifies embeddings."""

import torch
from torch import Tensor

from textadv.adversarial.attacks import Attack, Classify, perturb
from textadv.adversarial.divergences import cross_entropy, local_distributional_smoothness
from textadv.adversarial.virtual import in_closed_form, virtual_direction
from textadv.draws import Generator


def adversarial_loss(
    classify: Classify,
    embeddings: Tensor,
    labels: Tensor,
    mask: Tensor,
    epsilon: float,
    attack: Attack | None = None,
    directions: Tensor | None = None,
    generator: Generator = None,
) -> Tensor:
    """Cross entropy at x + r_adv, -log p(y | x + r_adv): the loss where it is worst nearby.

    Miyato, Dai, Goodfellow 2017 (arXiv 1605.07725), equations 3 to 6. Add it to the loss at x.

    Args:
        classify: From embeddings (B, T, D) to logits (B, C), each row from its own example only. In one step it must be
            the same function at each call: a dropout of its own would be part of what is measured. Its weights are
            float32, as perturbations are: half precision is by autocast.
        embeddings: The embeddings x, (B, T, D); gradients flow through them to the parameters they come from. Epsilon
            is in their units: where the model may learn to make them large, normalize them.
        labels: The right classes, (B,) int64.
        mask: True at the positions that may change, (B, T); a Transformer's attention mask as it is, of any type.
        epsilon: Norm of r_adv, by default an L2 norm over the whole sequence.
        attack: How r_adv is found; None for the paper's single step, epsilon g / ||g||_2.
        directions: Of an `interpretable` attack, see `perturb`.
        generator: Source of randomness, for attacks that have it, on the device of the embeddings.

    Returns:
        The loss per example in nats, (B,). No gradient flows through r_adv.
    """
    r_adv = perturb(
        attack or Attack(),
        classify,
        embeddings,
        labels,
        mask.bool(),
        epsilon,
        directions=directions,
        generator=generator,
    )
    return cross_entropy(classify(embeddings + r_adv), labels)


def virtual_adversarial_loss(
    classify: Classify,
    embeddings: Tensor,
    mask: Tensor,
    epsilon: float,
    logits: Tensor | None = None,
    closed_form: bool | None = None,
    xi: float = 0.1,
    num_power_iterations: int = 1,
    generator: Generator = None,
) -> Tensor:
    """KL(p(x) || p(x + r_vadv)), the local distributional smoothness: needs no label.

    Miyato, Dai, Goodfellow 2017 (arXiv 1605.07725), equations 7 to 9. r_vadv has the direction in which the divergence
    grows fastest, in closed form or by power iteration (`textadv.adversarial.virtual`).

    Args:
        classify: As in `adversarial_loss`.
        embeddings: The embeddings x, (B, T, D).
        mask: True at the positions that may change, (B, T), of any type.
        epsilon: L2 norm of r_vadv over the whole sequence, in the units of the embeddings.
        logits: `classify(embeddings)`, where it is known already, (B, C): its graph is kept, and gives the closed form.
            The embeddings must then be part of that graph.
        closed_form: Which of the two; None for the closed form up to three classes, beyond which it is slower.
        xi: Step of the power iteration's finite difference, an L2 norm as epsilon is.
        num_power_iterations: Power iterations.
        generator: Source of the sign or of the random start, on the device of the embeddings.

    Returns:
        The loss per example in nats, (B,). No gradient flows through r_vadv or the clean prediction.
    """
    x, clean = embeddings, logits
    if clean is None:
        x = embeddings.detach().requires_grad_()
        with torch.enable_grad():
            clean = classify(x)
    if closed_form is None:
        closed_form = in_closed_form(clean)
    direction = virtual_direction(classify, x, clean, mask.bool(), closed_form, xi, num_power_iterations, generator)
    return local_distributional_smoothness(clean, classify(embeddings + epsilon * direction))
