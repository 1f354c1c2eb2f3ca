"""Fine-tuning: one step of supervised, adversarial and virtual adversarial training."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from textadv.adversarial.divergences import cross_entropy, entropy
from textadv.adversarial.norms import perturbation_mask
from textadv.adversarial.objectives import local_distributional_smoothness, ramp, total_loss
from textadv.adversarial.perturbations import adversarial_perturbation, random_perturbation
from textadv.adversarial.virtual import (
    closed_form_direction,
    logit_gradients,
    loss_gradient_from_logit_gradients,
    power_iteration,
)
from textadv.corpus.batching import Batch
from textadv.models.classifier import Classifier
from textadv.settings import FinetuningSettings
from textadv.training.base import TrainingModule


class Clean(NamedTuple):
    """The clean pass of a batch; perturbations start from here."""

    embeddings: Tensor  # (B, T, D)
    lengths: Tensor  # (B,)
    mask: Tensor  # (B, T), where a perturbation is allowed
    logits: Tensor  # (B, C)
    gradients: Tensor | None  # (C - 1, B, T, D), of the logit differences; only where VAT's closed form needs them


class FinetuningModule(TrainingModule):
    """The classifier with its training objective (Miyato et al. 2017, sections 3 and 4).

    Args:
        model: The classifier.
        settings: Method, sizes of the perturbations, weights and optimizer.
        seed: Seed of dropout and random directions.
        card: What the checkpoint says about itself.
    """

    model: Classifier
    settings: FinetuningSettings

    def __init__(self, model: Classifier, settings: FinetuningSettings, seed: int, card: dict[str, Any]) -> None:
        super().__init__(model, settings, seed, card)
        self.validation_sums = torch.zeros(3)

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> Tensor:
        """The total loss of a labeled and an unlabeled batch."""
        s, labeled = self.settings, batch["labeled"]
        clean = self._clean_pass(labeled)
        supervised = cross_entropy(clean.logits, labeled.labels)
        adversarial = self._adversarial_loss(clean, labeled.labels, supervised) if s.perturbs_labeled else None
        smoothness = [self._smoothness(clean)] if s.uses_vat else []
        confusion = None
        if s.uses_unlabeled:
            unlabeled = self._clean_pass(batch["unlabeled"])
            if s.uses_vat:
                smoothness.append(self._smoothness(unlabeled))
            if s.entropy_weight:
                confusion = entropy(unlabeled.logits).mean()
        lds = torch.cat(smoothness) if smoothness else None
        rise = ramp(self.global_step, s.ramp_steps)
        loss = total_loss(supervised, adversarial, lds, rise * s.adv_weight, rise * s.vat_weight)
        if confusion is not None:
            loss = loss + rise * s.entropy_weight * confusion
        terms = {"cross_entropy": supervised, "adversarial_loss": adversarial, "lds": lds}
        self.log("loss", loss)
        self.log_dict({name: term.detach().mean() for name, term in terms.items() if term is not None})
        self.log("tokens", torch.stack([b.lengths.sum() for b in batch.values()]).sum().float())
        return loss

    def _clean_pass(self, batch: Batch) -> Clean:
        embeddings = self.model.embed(batch.tokens)
        logits = self.model.classify(embeddings, batch.lengths)
        closed = self.settings.uses_vat and self.settings.vat_direction == "closed_form"
        gradients = logit_gradients(logits, embeddings) if closed else None
        return Clean(
            embeddings, batch.lengths, perturbation_mask(batch.lengths, batch.tokens.shape[1]), logits, gradients
        )

    def _adversarial_loss(self, clean: Clean, labels: Tensor, supervised: Tensor) -> Tensor:
        """Cross entropy at x + r_adv, or at x + random noise."""
        if self.settings.method == "random":
            r = random_perturbation(clean.embeddings, clean.mask, self.settings.epsilon)
        else:
            if clean.gradients is not None:  # the same gradients serve both perturbations
                gradient = loss_gradient_from_logit_gradients(clean.logits, labels, clean.gradients)
            else:
                (gradient,) = torch.autograd.grad(supervised.sum(), clean.embeddings, retain_graph=True)
            r = adversarial_perturbation(gradient, clean.mask, self.settings.epsilon)
        return cross_entropy(self.model.classify(clean.embeddings + r, clean.lengths), labels)

    def _smoothness(self, clean: Clean) -> Tensor:
        """Local distributional smoothness of each example."""
        if clean.gradients is not None:
            direction = closed_form_direction(clean.logits, clean.gradients, clean.mask)
        else:
            direction = self._power_direction(clean)
        r = self.settings.epsilon * direction
        return local_distributional_smoothness(clean.logits, self.model.classify(clean.embeddings + r, clean.lengths))

    def _power_direction(self, clean: Clean) -> Tensor:
        """The direction by power iteration, in full precision: bfloat16 would lose a step of size xi."""
        device = clean.embeddings.device.type
        fixed = clean.logits.detach()
        with torch.autocast(device, enabled=False):
            if fixed.dtype != clean.embeddings.dtype:  # computed under autocast
                fixed = self.model.classify(clean.embeddings.detach(), clean.lengths).detach()
            return power_iteration(
                lambda x: local_distributional_smoothness(fixed, self.model.classify(x, clean.lengths)),
                clean.embeddings,
                clean.mask,
                self.settings.xi,
                self.settings.num_power_iterations,
            )

    def on_validation_epoch_start(self) -> None:
        """Start from empty sums."""
        self.validation_sums = torch.zeros(3, device=self.device, dtype=torch.float64)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Sum errors, loss and count."""
        logits = self.model(batch.tokens, batch.lengths)
        errors = (logits.argmax(1) != batch.labels).sum()
        loss = cross_entropy(logits, batch.labels).double().sum()
        self.validation_sums += torch.stack([errors.double(), loss, errors.new_tensor(len(logits)).double()])

    def on_validation_epoch_end(self) -> None:
        """Report error (percent) and cross entropy over all ranks."""
        errors, loss, count = self.trainer.strategy.reduce(self.validation_sums, reduce_op="sum").tolist()
        self.log("validation_error", torch.tensor(100 * errors / count), rank_zero_only=False)
        self.log("validation_loss", torch.tensor(loss / count))
