"""What fine-tuning minimizes: the losses of labeled and unlabeled texts, unperturbed and perturbed, one per example."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from textadv.adversarial.attacks import Attack, perturb
from textadv.adversarial.divergences import (
    cross_entropy,
    entropy,
    local_distributional_smoothness,
    log_probabilities,
)
from textadv.adversarial.gradients import early_backward
from textadv.adversarial.interpretable import word_directions
from textadv.adversarial.norms import random_signs, steepest_step, zero_rows
from textadv.adversarial.pseudo_labels import aligned_prediction, imbalance, pseudo_labels
from textadv.adversarial.virtual import (
    closed_form_direction,
    curvature,
    epsilon_of_divergence,
    in_closed_form,
    logit_gradients,
    virtual_direction,
)
from textadv.corpus.batching import Batch
from textadv.draws import Generator
from textadv.models.classifier import Classifier
from textadv.models.clean_pass import CleanPass
from textadv.settings import FinetuningSettings

# The batches whose examples a term has, one after the other: those of both where a term is not named here.
BATCHES = {"cross_entropy": ["labeled"], "adversarial_loss": ["labeled"]}
BATCHES |= {name: ["unlabeled"] for name in ("entropy", "imbalance", "pseudo_label_loss")}
BATCHES |= {name: ["unlabeled"] for name in ("pseudo_labeled", "virtual_epsilon", "largest_class_share")}
Mean = Callable[[str, Tensor], Tensor]  # the mean of the values (B, ...) of a named batch, over the rows of all ranks


def objective(
    classifier: Classifier,
    batch: dict[str, Batch],
    settings: FinetuningSettings,
    attack: Attack,
    neighbours: Tensor | None,
    class_shares: Tensor,
    generators: Mapping[str, Generator],
    mean: Mean,
) -> dict[str, Tensor]:
    """All terms of the loss (Miyato et al. 2017, sections 3 and 4), not yet weighted, averaged or summed.

    Args:
        classifier: In training mode.
        batch: `labeled`, and `unlabeled` where the settings use it.
        settings: Which terms there are, and the sizes of the perturbations.
        attack: How the adversarial perturbation is found.
        neighbours: The nearest words of every word, (V, K), of an interpretable attack.
        class_shares: Shares of the classes among all labeled texts, (C,).
        generators: Sources of randomness for each batch, by its name.
        mean: Over the rows of all ranks.

    Returns:
        Values per example by name, those of labeled examples before those of unlabeled ones. The terms are
        `cross_entropy`, `adversarial_loss`, `lds`, `entropy`, `imbalance` and `pseudo_label_loss`, as the settings have
        them. To be watched are, where gradients are taken, `zero_gradients`: whether no perturbation can be found; and,
        of unlabeled examples, `largest_class_share`: the predicted probabilities, (B, C), of whose means the largest
        counts; `pseudo_labeled`: whether the prediction is sure enough; and `virtual_epsilon`, if it is chosen here.
    """
    labeled = clean_pass(classifier, batch["labeled"], generators["labeled"], neighbours)
    epsilon: float | Tensor = settings.virtual_epsilon
    if not settings.uses_unlabeled:
        return labeled_terms(
            labeled, batch["labeled"].labels, settings, attack, class_shares, epsilon, generators["labeled"]
        )
    unlabeled = clean_pass(classifier, batch["unlabeled"], generators["unlabeled"])
    direction = None
    if settings.uses_vat:
        direction, curvatures = smoothness_direction(unlabeled, settings, generators["unlabeled"])
        if settings.vat_target is not None and curvatures is not None:
            bound = settings.virtual_epsilon
            epsilon = epsilon_of_divergence(settings.vat_target, mean("unlabeled", curvatures), bound)
    terms = labeled_terms(
        labeled, batch["labeled"].labels, settings, attack, class_shares, epsilon, generators["labeled"]
    )
    for name, values in unlabeled_terms(
        unlabeled, batch["unlabeled"].labels, direction, epsilon, settings, class_shares, labeled.logits, mean
    ).items():
        terms[name] = torch.cat([terms[name], values]) if name in terms else values
    return terms


def clean_pass(
    classifier: Classifier, batch: Batch, generator: Generator, neighbours: Tensor | None = None
) -> CleanPass:
    """Embed and classify; the neighbours of all words are embedded along, for they need the same dropout."""
    width, near = batch.tokens.shape[1], None
    tokens = batch.tokens if neighbours is None else torch.cat([batch.tokens, neighbours[batch.tokens].flatten(1)], 1)
    embeddings = classifier.embed(tokens, generator)
    if neighbours is not None:
        near = embeddings[:, width:].detach().reshape(len(tokens), width, -1, embeddings.shape[2])
        embeddings = embeddings[:, :width]
    logits = classifier.classify(embeddings, batch.lengths)
    mask = classifier.encoder.perturbation_mask(batch.tokens, batch.lengths)
    return CleanPass(classifier, embeddings, batch.lengths, mask, logits, near, classifier.encoder.seed)


def labeled_terms(
    clean: CleanPass,
    labels: Tensor,
    settings: FinetuningSettings,
    attack: Attack,
    class_shares: Tensor,
    virtual_epsilon: float | Tensor,
    generator: Generator,
) -> dict[str, Tensor]:
    """The terms of labeled examples. Class weights are part of the cross entropies; `lds` needs no label and has none.

    One backward pass of the cross entropy yields its own gradients and g, the direction of r_adv. With two classes
    r_vadv lies on the line of g, on either side of x (`textadv.adversarial.virtual`). Beside the paper's r_adv it takes
    that side, so that one perturbed pass serves both losses; else it takes a random side.
    """
    s = settings
    class_weight = balanced_weights(labels, class_shares) if s.class_weights == "balanced" else 1.0
    # Weighted before the backward pass, which takes all examples to have the same weight afterwards. A positive factor
    # does not change the direction of an example's gradient, and so not r_adv.
    terms = {"cross_entropy": cross_entropy(clean.logits, labels) * class_weight}
    direction = gradient = None
    if s.uses_vat or (s.perturbs_labeled and attack.kind != "noise"):
        on_line = takes_closed_form(clean, s) and clean.logits.shape[1] == 2
        if s.uses_vat and not on_line:
            # Now, for the graph of the clean pass ends with the next line.
            direction, _ = smoothness_direction(clean, s, generator)
        terms["cross_entropy"], gradient = early_backward(
            terms["cross_entropy"], clean.embeddings, classifying_parameters(clean.classifier)
        )
        terms["zero_gradients"] = zero_rows(gradient, clean.mask)
    logits = clean.logits
    if s.perturbs_labeled:
        x = clean.embeddings.detach()
        directions = None if clean.neighbours is None else word_directions(x, clean.neighbours)
        r_adv = perturb(
            attack, clean.classify, x, labels, clean.mask, s.epsilon, clean.logits, gradient, directions, generator
        )
        logits = clean.logits_at(r_adv)
        terms["adversarial_loss"] = cross_entropy(logits, labels) * class_weight
    if s.uses_vat:
        if direction is not None:
            logits = clean.logits_at(virtual_epsilon * direction)
        elif not (s.perturbs_labeled and attack.is_the_papers and s.virtual_is_adversarial):
            assert gradient is not None
            r = steepest_step(gradient, clean.mask, virtual_epsilon, "l2")
            logits = clean.logits_at(random_signs(r, generator) * r)
        terms["lds"] = local_distributional_smoothness(clean.logits, logits)
    return terms


def balanced_weights(labels: Tensor, class_shares: Tensor) -> Tensor:
    """Weight of each example by which all classes count alike, n / (C n_c) (King and Zeng 2001; scikit-learn).

    Its mean over all labeled texts is 1. So the plain mean over a batch, on any number of ranks, remains an unbiased
    estimate of the weighted mean over all of them.

    Args:
        labels: Classes of the examples, (B,).
        class_shares: Shares of the classes among all labeled texts, n_c / n, (C,).

    Returns:
        Shape (B,).
    """
    return 1 / (len(class_shares) * class_shares[labels])


def unlabeled_terms(
    clean: CleanPass,
    teacher_labels: Tensor,
    direction: Tensor | None,
    virtual_epsilon: float | Tensor,
    settings: FinetuningSettings,
    class_shares: Tensor,
    labeled_logits: Tensor,
    mean: Mean,
) -> dict[str, Tensor]:
    """The terms of unlabeled examples.

    Args:
        clean: Their unperturbed pass.
        teacher_labels: What a teacher says of them, (B,), -1 where it says nothing.
        direction: Of r_vadv, of norm 1, (B, T, D); None without virtual adversarial training.
        virtual_epsilon: Norm of r_vadv.
        settings: Which terms there are.
        class_shares: Shares of the classes among all labeled texts, (C,).
        labeled_logits: Of the labeled examples of this rank, unperturbed, (B, C).
        mean: Over the rows of all ranks.

    Returns:
        As `objective`.
    """
    s, logits = settings, clean.logits
    predicted = log_probabilities(logits.detach()).exp()  # in float32 also under autocast: many are added up
    terms = {"largest_class_share": predicted}
    perturbed = logits
    if direction is not None:
        perturbed = clean.logits_at(virtual_epsilon * direction)
        terms["lds"] = local_distributional_smoothness(logits, perturbed)
        if takes_closed_form(clean, s):  # a power iteration keeps its random start where there is none
            terms["zero_gradients"] = zero_rows(direction, clean.mask)
    if isinstance(virtual_epsilon, Tensor):
        terms["virtual_epsilon"] = virtual_epsilon.expand(len(logits))
    if s.entropy_weight:
        terms["entropy"] = entropy(logits)
    if s.balance_weight or (s.pseudo_label_weight and not s.teacher_share):
        mean_prediction = mean("unlabeled", predicted)
    if s.balance_weight:
        terms["imbalance"] = imbalance(logits, mean_prediction)
    if s.teacher_share:
        sure = teacher_labels >= 0
        terms["pseudo_label_loss"] = cross_entropy(perturbed, teacher_labels.clamp_min(0)) * sure
        terms["pseudo_labeled"] = sure
    elif s.pseudo_label_weight:
        confidence = log_probabilities(labeled_logits.detach()).amax(1).exp()  # (B,)
        aligned = aligned_prediction(logits, mean_prediction, class_shares)
        labels, sure = pseudo_labels(aligned, s.pseudo_label_threshold * mean("labeled", confidence))
        terms["pseudo_label_loss"] = cross_entropy(perturbed, labels) * sure
        terms["pseudo_labeled"] = sure
    return terms


def smoothness_direction(
    clean: CleanPass, settings: FinetuningSettings, generator: Generator
) -> tuple[Tensor, Tensor | None]:
    """The direction of r_vadv, of norm 1, (B, T, D), and for a target the divergence's curvature, (B,)."""
    if takes_closed_form(clean, settings):
        gradients = logit_gradients(clean.logits, clean.embeddings)
        direction = closed_form_direction(clean.logits, gradients, clean.mask, generator)
        targeted = settings.vat_target is not None
        return direction, curvature(clean.logits, gradients, direction) if targeted else None
    xi, num_power_iterations = settings.xi, settings.num_power_iterations
    direction = virtual_direction(
        clean.classify, clean.embeddings, clean.logits, clean.mask, False, xi, num_power_iterations, generator
    )
    return direction, None


def takes_closed_form(clean: CleanPass, settings: FinetuningSettings) -> bool:
    """Whether the direction of r_vadv is had in closed form, as a target for the divergence needs it."""
    return settings.vat_target is not None or in_closed_form(clean.logits, settings.vat_direction)


def classifying_parameters(classifier: Classifier) -> list[nn.Parameter]:
    """All that lies between the embeddings and the logits, and is trained."""
    embedding = classifier.encoder.embedding_parameters()
    trained = (p for p in classifier.parameters() if p.requires_grad)
    return [p for p in trained if not any(p is other for other in embedding)]


def weights(settings: FinetuningSettings, step: int) -> dict[str, float]:
    """Weight of each term of the loss; those of all but the cross entropy rise over the first `ramp_steps` steps.

    With `supervised_weight` a and `adv_weight` 1 - a it is the mixed objective of Goodfellow et al. 2015 (arXiv
    1412.6572), section 6; with weights of 1 that of Miyato et al. 2017.
    """
    rise = min(1.0, (step + 1) / max(settings.ramp_steps, 1))
    return {
        "cross_entropy": settings.supervised_weight,
        "adversarial_loss": rise * settings.adv_weight,
        "lds": rise * settings.vat_weight,
        "entropy": rise * settings.entropy_weight,
        "imbalance": rise * settings.balance_weight,
        "pseudo_label_loss": rise * settings.pseudo_label_weight,
    }
