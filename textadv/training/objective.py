"""What fine-tuning minimizes: the losses of labeled and unlabeled texts, unperturbed and perturbed, one per example."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from textadv.adversarial.attacks import Attack, perturb
from textadv.adversarial.divergences import cross_entropy, entropy, local_distributional_smoothness
from textadv.adversarial.gradients import early_backward
from textadv.adversarial.interpretable import word_directions
from textadv.adversarial.norms import perturbation_mask, random_signs, steepest_step, zero_rows
from textadv.adversarial.virtual import in_closed_form, virtual_direction
from textadv.corpus.batching import Batch
from textadv.draws import Generator
from textadv.models.classifier import Classifier
from textadv.models.clean_pass import CleanPass
from textadv.settings import FinetuningSettings

# The batches whose examples a term has, one after the other.
BATCHES = {
    "cross_entropy": ["labeled"],
    "adversarial_loss": ["labeled"],
    "entropy": ["unlabeled"],
    "largest_class_share": ["unlabeled"],
}


def objective(
    classifier: Classifier,
    batch: dict[str, Batch],
    settings: FinetuningSettings,
    attack: Attack,
    neighbours: Tensor | None,
    generators: Mapping[str, Generator],
) -> dict[str, Tensor]:
    """All terms of the loss (Miyato et al. 2017, sections 3 and 4), not yet weighted, averaged or summed.

    Args:
        classifier: In training mode.
        batch: `labeled`, and `unlabeled` where the settings use it.
        settings: Which terms there are, and the sizes of the perturbations.
        attack: How the adversarial perturbation is found.
        neighbours: The nearest words of every word, (V, K), of an interpretable attack.
        generators: Sources of randomness for each batch, by its name.

    Returns:
        Values per example by name, those of labeled examples before those of unlabeled ones: `cross_entropy`,
        `adversarial_loss`, `lds` and `entropy`, as the settings have them; and, where gradients are taken,
        `zero_gradients`: whether no perturbation can be found for an example; and, of unlabeled examples,
        `largest_class_share`: the predicted probabilities, (B, C), of whose means the largest is to be watched.
    """
    clean = clean_pass(classifier, batch["labeled"], generators["labeled"], neighbours)
    terms = labeled_terms(clean, batch["labeled"].labels, settings, attack, generators["labeled"])
    if settings.uses_unlabeled:
        clean = clean_pass(classifier, batch["unlabeled"], generators["unlabeled"])
        terms["largest_class_share"] = clean.logits.detach().softmax(1)
        if settings.uses_vat:
            direction = smoothness_direction(clean, settings, generators["unlabeled"])
            lds = local_distributional_smoothness(clean.logits, clean.logits_at(settings.virtual_epsilon * direction))
            terms["lds"] = torch.cat([terms["lds"], lds])
            # A power iteration keeps its random start where there is none.
            if in_closed_form(clean.logits, settings.vat_direction):
                terms["zero_gradients"] = torch.cat([terms["zero_gradients"], zero_rows(direction, clean.mask)])
        if settings.entropy_weight:
            terms["entropy"] = entropy(clean.logits)
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
    mask = perturbation_mask(batch.lengths, embeddings)
    return CleanPass(classifier, embeddings, batch.lengths, mask, logits, near)


def labeled_terms(
    clean: CleanPass, labels: Tensor, settings: FinetuningSettings, attack: Attack, generator: Generator
) -> dict[str, Tensor]:
    """The terms of labeled examples.

    One backward pass of the cross entropy yields its own gradients and g, the direction of r_adv. With two classes
    r_vadv lies on the line of g, on either side of x (`textadv.adversarial.virtual`). Beside the paper's r_adv it takes
    that side, so that one perturbed pass serves both losses; else it takes a random side.
    """
    s = settings
    terms = {"cross_entropy": cross_entropy(clean.logits, labels)}
    direction = gradient = None
    if s.uses_vat or (s.perturbs_labeled and attack.kind != "noise"):
        on_line = in_closed_form(clean.logits, s.vat_direction) and clean.logits.shape[1] == 2
        if s.uses_vat and not on_line:
            # Now, for the graph of the clean pass ends with the next line.
            direction = smoothness_direction(clean, s, generator)
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
        terms["adversarial_loss"] = cross_entropy(logits, labels)
    if s.uses_vat:
        if direction is not None:
            logits = clean.logits_at(s.virtual_epsilon * direction)
        elif not (s.perturbs_labeled and attack.is_the_papers and s.virtual_epsilon == s.epsilon):
            assert gradient is not None
            r = steepest_step(gradient, clean.mask, s.virtual_epsilon, "l2")
            logits = clean.logits_at(random_signs(r, generator) * r)
        terms["lds"] = local_distributional_smoothness(clean.logits, logits)
    return terms


def smoothness_direction(clean: CleanPass, settings: FinetuningSettings, generator: Generator) -> Tensor:
    """The direction of r_vadv, of norm 1, (B, T, D)."""
    return virtual_direction(
        clean.classify,
        clean.embeddings,
        clean.logits,
        clean.mask,
        in_closed_form(clean.logits, settings.vat_direction),
        settings.xi,
        settings.num_power_iterations,
        generator,
    )


def classifying_parameters(classifier: Classifier) -> list[nn.Parameter]:
    """All that lies between the embeddings and the logits."""
    embedding = classifier.encoder.embedding_parameters()
    return [p for p in classifier.parameters() if not any(p is other for other in embedding)]


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
    }
