"""Fine-tuning: one step of supervised, adversarial and virtual adversarial training."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textadv.adversarial.attacks import Target, aim, gradient_at, random_noise, read_target, search
from textadv.adversarial.divergences import cross_entropy, entropy
from textadv.adversarial.gradients import early_backward
from textadv.adversarial.interpretable import interpretable_perturbation, nearest_words, word_directions
from textadv.adversarial.norms import perturbation_mask, random_signs, steepest_step
from textadv.adversarial.objectives import local_distributional_smoothness, ramp, total_loss
from textadv.adversarial.perturbations import adversarial_perturbation
from textadv.adversarial.virtual import CLOSED_FORM_CLASSES, virtual_direction
from textadv.checkpoints import CARD
from textadv.corpus.batching import Batch
from textadv.corpus.tokenization import SPECIAL_TOKENS
from textadv.errors import InputError
from textadv.models.classifier import Classifier
from textadv.settings import FinetuningSettings
from textadv.training.base import TrainingModule


class Clean(NamedTuple):
    """The clean pass of a batch; perturbations start from here."""

    embeddings: Tensor  # (B, T, D)
    lengths: Tensor  # (B,)
    mask: Tensor  # (B, T), where a perturbation is allowed
    logits: Tensor  # (B, C)
    neighbours: Tensor | None  # (B, T, K, D), words that an interpretable perturbation moves towards


def target_of(settings: FinetuningSettings, classes: Sequence[str]) -> Target | None:
    """The class that perturbations move towards.

    Args:
        settings: With the name of the target, or none.
        classes: Names of the classes.

    Returns:
        The target; None for away from the label.

    Raises:
        InputError: There is no such class.
    """
    if settings.target is None:
        return None
    try:
        return read_target(settings.target, classes)
    except ValueError as error:
        raise InputError(f"--finetuning.target {settings.target}: {error}") from None


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
    neighbours: Tensor | None  # (V, K)

    def __init__(self, model: Classifier, settings: FinetuningSettings, seed: int, card: dict[str, Any]) -> None:
        super().__init__(model, settings, seed, card)
        self.target = target_of(settings, card["classes"])
        self.validation_sums = torch.zeros(3)
        self.zero_gradients: list[Tensor] = []  # of this step: which documents no perturbation can be found for, (B,)
        self.zero_count: Tensor | int = 0  # number of them since `take_zero_share`, and of all documents
        self.gradient_count = 0
        # Those of the pretrained embeddings, so that a resumed run has the same.
        interpretable = settings.perturbs_labeled and settings.adversary == "interpretable"
        self.register_buffer("neighbours", self._nearest_words() if interpretable else None, persistent=False)

    def _nearest_words(self) -> Tensor:
        """Neighbours of the whole vocabulary, (V, K)."""
        table = self.model.encoder.word_table()
        everything = torch.arange(len(table))
        words = len(everything) - len(SPECIAL_TOKENS)
        if self.settings.num_neighbours >= words:
            flag = f"--finetuning.num_neighbours {self.settings.num_neighbours}"
            raise InputError(f"{flag}: a word has only {words - 1} others in a vocabulary of {words}")
        return nearest_words(table, everything, self.settings.num_neighbours, everything < len(SPECIAL_TOKENS))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say of a run that goes on what it once started from."""
        super().on_load_checkpoint(checkpoint)
        self.card["pretrained"] = checkpoint[CARD].get("pretrained", "not recorded")

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> Tensor:
        """The total loss of a labeled and an unlabeled batch."""
        s = self.settings
        self.zero_gradients = []
        with self.draws("labeled", batch["labeled"].tokens):
            supervised, adversarial, lds = self._labeled_losses(batch["labeled"])
        confusion = None
        if s.uses_unlabeled:
            with self.draws("unlabeled", batch["unlabeled"].tokens):
                unlabeled = self._clean_pass(batch["unlabeled"])
                if lds is not None:
                    direction = self._virtual_direction(unlabeled)
                    if self._in_closed_form(unlabeled):  # a power iteration keeps its random start where there is none
                        self._note_zeros(direction, unlabeled.mask)
                    logits = self._logits_at(unlabeled, s.virtual_epsilon * direction)
                    lds = torch.cat([lds, local_distributional_smoothness(unlabeled.logits, logits)])
                if s.entropy_weight:
                    confusion = entropy(unlabeled.logits).mean()
        rise = ramp(self.global_step, s.ramp_steps)
        labeled = self._share(batch, "labeled")
        supervised = supervised * labeled
        adversarial = None if adversarial is None else adversarial * labeled
        lds = None if lds is None else lds * self._share(batch, *batch)
        loss = total_loss(supervised, adversarial, lds, rise * s.adv_weight, rise * s.vat_weight, s.supervised_weight)
        if confusion is not None:
            loss = loss + rise * s.entropy_weight * self._share(batch, "unlabeled") * confusion
        terms = {"loss": loss, "cross_entropy": supervised, "adversarial_loss": adversarial, "lds": lds}
        means = {name: term.mean() for name, term in terms.items() if term is not None}
        self.log_means(means | self._zero_share(batch))
        self.log("tokens", torch.tensor(float(self._count_tokens(batch))))
        return loss

    def _share(self, batch: dict[str, Batch], *names: str) -> float:
        """Factor on a mean over this rank's rows of some batches."""
        total = sum(self.whole[name].rows for name in names) if self.whole else 0
        return self.share(sum(len(batch[name].lengths) for name in names), total)

    def _count_tokens(self, batch: dict[str, Batch]) -> int:
        """Tokens of a step, on all ranks."""
        if self.whole:
            return sum(whole.tokens for whole in self.whole.values())
        return sum(int(b.lengths.sum()) for b in batch.values())

    def _note_zeros(self, gradient: Tensor, mask: Tensor) -> None:
        """Note which documents have words but no gradient at them: the prediction is a constant there.

        Args:
            gradient: Gradients, or directions made of them, (B, T, D).
            mask: Where a perturbation is allowed, (B, T).
        """
        at_words = gradient.detach().abs().amax(2) * mask  # (B, T)
        self.zero_gradients.append(mask.any(1) & (at_words.amax(1) == 0))

    def _zero_share(self, batch: dict[str, Batch]) -> dict[str, Tensor]:
        """Share of the documents of a step whose gradient is 0, to be logged; nothing where none was taken."""
        if not self.zero_gradients:
            return {}
        zeros = torch.cat(self.zero_gradients)
        self.zero_count = self.zero_count + zeros.sum()
        self.gradient_count += len(zeros)
        names = list(batch)[: len(self.zero_gradients)]
        return {"zero_gradients": zeros.float().mean() * self._share(batch, *names)}

    def _labeled_losses(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Mean cross entropy; cross entropy at x + r and smoothness per example, where the method has them.

        One backward pass of the cross entropy yields its own gradients and g, the direction of r_adv. With two
        classes r_vadv lies on the line of g, on either side of x (`textadv.adversarial.virtual`). Beside the paper's
        r_adv it takes that side, so that one perturbed pass serves both losses; else it takes a random side.
        """
        s = self.settings
        clean = self._clean_pass(batch, self.neighbours)
        supervised = cross_entropy(clean.logits, batch.labels).mean()
        if s.perturbs_labeled and s.method == "random":
            noise = random_noise(clean.embeddings, clean.mask, s.epsilon, s.norm)
            return supervised, cross_entropy(self._logits_at(clean, noise), batch.labels), None
        if not (s.perturbs_labeled or s.uses_vat):
            return supervised, None, None
        on_line = self._in_closed_form(clean) and clean.logits.shape[1] == 2
        direction = self._virtual_direction(clean) if s.uses_vat and not on_line else None
        supervised, gradient = early_backward(supervised, clean.embeddings, self._classifying_parameters())
        self._note_zeros(gradient, clean.mask)
        adversarial = smoothness = None
        if s.perturbs_labeled:
            logits = self._logits_at(clean, self._adversarial_perturbation(clean, batch, gradient))
            adversarial = cross_entropy(logits, batch.labels)
        if s.uses_vat:
            if direction is not None:
                logits = self._logits_at(clean, s.virtual_epsilon * direction)
            elif not (s.perturbs_labeled and s.adversary_is_fgsm_in_l2 and s.virtual_epsilon == s.epsilon):
                r = adversarial_perturbation(gradient, clean.mask, s.virtual_epsilon)
                logits = self._logits_at(clean, random_signs(r) * r)
            smoothness = local_distributional_smoothness(clean.logits, logits)
        return supervised, adversarial, smoothness

    def _adversarial_perturbation(self, clean: Clean, batch: Batch, gradient: Tensor) -> Tensor:
        """r_adv, from the gradient of the clean loss where that is enough."""
        s, x = self.settings, clean.embeddings.detach()
        wanted, mask, targeted = batch.labels, clean.mask, self.target is not None
        if self.target is not None:
            wanted, mask = aim(self.target, clean.logits, batch.labels, clean.mask)

        def loss(x: Tensor) -> Tensor:
            return cross_entropy(self.model.classify(x, clean.lengths), wanted)

        if s.adversary == "interpretable":
            assert clean.neighbours is not None
            directions = word_directions(x, clean.neighbours)
            if targeted:
                gradient = -gradient_at(x, loss)
            return interpretable_perturbation(gradient, directions, mask, s.epsilon)[0]
        if s.adversary == "fgsm" and not targeted:
            return steepest_step(gradient, mask, s.epsilon, s.norm)
        return search(
            s.adversary,
            loss,
            x,
            mask,
            s.epsilon,
            s.norm,
            targeted,
            s.num_steps,
            s.num_restarts,
            gradient=None if targeted else gradient,
            step_size=s.step_size,
            alpha=s.alpha,
        )

    def _classifying_parameters(self) -> list[nn.Parameter]:
        """All that lies between the embeddings and the logits."""
        embedding = self.model.encoder.embedding_parameters()
        return [p for p in self.model.parameters() if not any(p is other for other in embedding)]

    def _clean_pass(self, batch: Batch, neighbours: Tensor | None = None) -> Clean:
        """Embed and classify; the neighbours of all words are embedded along, for they need the same dropout."""
        width, near = batch.tokens.shape[1], None
        tokens = (
            batch.tokens if neighbours is None else torch.cat([batch.tokens, neighbours[batch.tokens].flatten(1)], 1)
        )
        embeddings = self.model.embed(tokens)
        if neighbours is not None:
            near = embeddings[:, width:].detach().reshape(len(tokens), width, -1, embeddings.shape[2])
            embeddings = embeddings[:, :width]
        logits = self.model.classify(embeddings, batch.lengths)
        return Clean(embeddings, batch.lengths, perturbation_mask(batch.lengths, embeddings), logits, near)

    def _logits_at(self, clean: Clean, r: Tensor) -> Tensor:
        """Logits at x + r."""
        return self.model.classify(clean.embeddings + r, clean.lengths)

    def _virtual_direction(self, clean: Clean) -> Tensor:
        """The direction of r_vadv, of norm 1."""
        return virtual_direction(
            lambda x: self.model.classify(x, clean.lengths),
            clean.embeddings,
            clean.logits,
            clean.mask,
            self._in_closed_form(clean),
            self.settings.xi,
            self.settings.num_power_iterations,
        )

    def _in_closed_form(self, clean: Clean) -> bool:
        """Whether r_vadv is had from C - 1 backward passes."""
        chosen = self.settings.vat_direction
        return chosen == "closed_form" or (chosen == "auto" and clean.logits.shape[1] <= CLOSED_FORM_CLASSES)

    def on_validation_epoch_start(self) -> None:
        """Start from empty sums."""
        self.validation_sums = torch.zeros(3, device=self.device, dtype=torch.float64)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Sum errors, loss and count."""
        logits = self.model(batch.tokens, batch.lengths)
        errors = (logits.argmax(1) != batch.labels).sum()
        loss = cross_entropy(logits, batch.labels).double().sum()
        self.validation_sums += torch.stack([errors.double(), loss, errors.new_tensor(len(logits)).double()])

    def take_zero_share(self) -> float:
        """Share of the documents whose gradient was 0, over all ranks, since this was last asked; 0 without any."""
        counts = torch.tensor([float(self.zero_count), self.gradient_count], device=self.device)
        self.zero_count = self.gradient_count = 0
        zeros, documents = self.trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        return float(zeros / max(documents, 1))

    def on_validation_epoch_end(self) -> None:
        """Report error (percent) and cross entropy over all ranks."""
        errors, loss, count = self.trainer.strategy.reduce(self.validation_sums, reduce_op="sum").tolist()
        self.log("validation_error", torch.tensor(100 * errors / count), rank_zero_only=False)
        self.log("validation_loss", torch.tensor(loss / count))
