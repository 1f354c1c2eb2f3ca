"""Fine-tuning: one step of supervised, adversarial and virtual adversarial training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.adversarial.attacks import Attack
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.gradients import sum_of_parts
from textadv.adversarial.interpretable import nearest_words
from textadv.attack_names import parse_attack
from textadv.checkpoints import CARD
from textadv.corpus.batching import Batch, GlobalBatch
from textadv.draws import Generator
from textadv.errors import InputError
from textadv.models.classifier import Classifier
from textadv.models.transformer import TransformerEncoder
from textadv.precision import in_float64
from textadv.scoring import fit_temperature, macro_f1
from textadv.settings import FinetuningSettings
from textadv.settings.training import TRANSFORMER_LEARNING_RATE
from textadv.training.base import TrainingModule
from textadv.training.guards import all_ranks
from textadv.training.objective import BATCHES, objective, weights
from textadv.training.rates import parameter_groups
from textadv.training.selection import ERROR, MACRO_F1, TEMPERATURE

NEIGHBOURS = "neighbours"  # name in a checkpoint
Outputs = tuple[NDArray[np.float64], NDArray[np.int64]]  # logits (B, C) and labels (B,)


def training_attack(settings: FinetuningSettings, classes: Sequence[str]) -> Attack:
    """How the adversarial perturbation is found; random noise in the same norm for the method `random`.

    Args:
        settings: With the name of the adversary.
        classes: Names of the classes.

    Returns:
        The attack.

    Raises:
        InputError: There is no such adversary.
    """
    attack = parse_attack(
        settings.adversary,
        classes,
        "--finetuning.adversary",
        num_steps=settings.num_steps,
        step_size=settings.step_size,
        num_restarts=settings.num_restarts,
        alpha=settings.alpha,
    )
    return Attack("noise", attack.norm) if settings.method == "random" else attack


def needs_neighbours(settings: FinetuningSettings, attack: Attack) -> bool:
    """Whether training perturbs embeddings towards those of other words."""
    return settings.perturbs_labeled and attack.needs_directions


def require_neighbours(settings: FinetuningSettings, attack: Attack, words: int) -> None:
    """See to it that each word has the neighbours that training needs.

    Args:
        settings: With their number.
        attack: Of the training.
        words: In the vocabulary.

    Raises:
        InputError: There are too few words.
    """
    if needs_neighbours(settings, attack) and settings.num_neighbours >= words:
        flag = f"--finetuning.num_neighbours {settings.num_neighbours}"
        raise InputError(f"{flag}: a word has only {words - 1} others in a vocabulary of {words}")


class FinetuningModule(TrainingModule):
    """The classifier with its training objective (Miyato et al. 2017, sections 3 and 4).

    Args:
        model: The classifier.
        settings: Method, sizes of the perturbations, weights and optimizer.
        seed: Seed of dropout and random directions.
        card: What the checkpoint says about itself.
        class_shares: Share of each class among the labeled texts, (C,); None for equal shares.
    """

    model: Classifier
    settings: FinetuningSettings
    neighbours: Tensor | None  # (V, K)
    class_shares: Tensor  # (C,)

    def __init__(
        self,
        model: Classifier,
        settings: FinetuningSettings,
        seed: int,
        card: dict[str, Any],
        class_shares: Sequence[float] | None = None,
    ) -> None:
        super().__init__(model, settings, seed, card)
        shares = class_shares or [1 / len(card["classes"])] * len(card["classes"])
        self.register_buffer("class_shares", torch.tensor(shares), persistent=False)
        if isinstance(model.encoder, TransformerEncoder):
            self.default_rate = TRANSFORMER_LEARNING_RATE
        self.attack = training_attack(settings, card["classes"])
        self.num_classes = len(card["classes"])
        self.validation_sums = torch.zeros(0)
        self.validation_outputs: list[Outputs] = []  # only where a temperature is fitted
        self.zero_count: Tensor | int = 0  # documents whose gradient is 0 since `take_zero_share`, and all
        self.gradient_count = 0
        self.class_sums: Tensor | int = 0  # predictions of unlabeled documents since `take_class_shares`, (C,)
        near = self._nearest_words() if needs_neighbours(settings, self.attack) else None
        self.register_buffer("neighbours", near, persistent=False)

    def _nearest_words(self) -> Tensor:
        """Neighbours of the whole vocabulary, (V, K)."""
        table, special = self.model.encoder.word_table(), self.model.encoder.is_special
        require_neighbours(self.settings, self.attack, int((~special).sum()))
        return nearest_words(table, torch.arange(len(table)), self.settings.num_neighbours, special)

    def build_optimizer(self) -> torch.optim.Optimizer:
        """AdamW, which without a decay is Adam. The learning rate falls from the head down to the embeddings."""
        s, encoder = self.settings, self.model.encoder
        weight_decay = s.weight_decay if isinstance(encoder, TransformerEncoder) else 0.0
        groups = parameter_groups(encoder, self.model.head, self.learning_rate, s.layer_decay, weight_decay)
        return torch.optim.AdamW(groups, fused=True)

    def decay(self, step: int) -> float:
        """Factor on the learning rate; a Transformer's falls linearly to 0 at the last step."""
        if not isinstance(self.model.encoder, TransformerEncoder):
            return super().decay(step)
        return self.linear_decay(step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the neighbours, which are those of the embeddings that the run has started from."""
        super().on_save_checkpoint(checkpoint)
        if self.neighbours is not None:
            checkpoint[NEIGHBOURS] = self.neighbours

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say of a run that goes on what it once started from, and what was fitted last."""
        super().on_load_checkpoint(checkpoint)
        if self.neighbours is not None:
            self.neighbours = checkpoint[NEIGHBOURS].to(self.device)
        self.card["pretrained"] = checkpoint[CARD].get("pretrained", "not recorded")
        if TEMPERATURE in checkpoint[CARD]:  # until the next validation
            self.card[TEMPERATURE] = checkpoint[CARD][TEMPERATURE]

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> Tensor:
        """The total loss of a labeled and an unlabeled batch."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        count = min(self.settings.micro_batches, *(len(whole.lengths) for whole in batch.values()))
        means: dict[str, Tensor] = {}
        loss = sum_of_parts(lambda number: self._part_loss(batch, number, count, means), count, trained)
        self.log_means({"loss": loss, **means})
        self.log("tokens", torch.tensor(float(self._count_tokens(batch))))
        return loss

    def _part_loss(self, batch: dict[str, Batch], number: int, count: int, totals: dict[str, Tensor]) -> Tensor:
        """What one part adds to the loss of a step.

        Args:
            batch: The documents of the whole step.
            number: Which part.
            count: How many there are.
            totals: The mean of each term so far; what this part adds is added.
        """
        part = batch if count == 1 else {name: whole.part(number, count) for name, whole in batch.items()}
        terms = objective(
            self.model,
            part,
            self.settings,
            self.attack,
            self.neighbours,
            self.class_shares,
            {name: self._part_generator(name, whole, number, count) for name, whole in batch.items()},
            self._mean_over_ranks,
        )
        kind = terms["cross_entropy"].dtype
        means = {
            name: values.to(kind).mean(0) * self._share(batch, part, name, values) for name, values in terms.items()
        }
        factors = weights(self.settings, self.global_step)
        loss = torch.stack([factors[name] * mean for name, mean in means.items() if name in factors]).sum()
        if "zero_gradients" in terms:
            self.zero_count = self.zero_count + terms["zero_gradients"].sum()
            self.gradient_count += len(terms["zero_gradients"])
        if "largest_class_share" in terms:
            self.class_sums = self.class_sums + terms["largest_class_share"].sum(0)
        for name, mean in means.items():
            totals[name] = totals[name] + mean.detach() if name in totals else mean.detach()
        return loss

    def _part_generator(self, name: str, whole: Batch, number: int, count: int) -> Generator:
        """Where the random numbers of a part come from: its rows meet those that they meet in the whole batch."""
        if count == 1:
            return self.generator(name)
        rows, width = whole.tokens.shape
        size = self.global_batches.get(name, GlobalBatch(rows, width, tokens=0))
        return self.batch_generator(name, self.global_step, size, number, count)

    def _mean_over_ranks(self, name: str, values: Tensor) -> Tensor:
        """Mean of values (B, ...) of a batch over the rows of all ranks, a constant."""
        mean = values.detach().mean(0)
        if not self.global_batches:
            return mean
        return self.mean_of_ranks(mean * self.share(len(values), self.global_batches[name].rows))

    def _share(self, batch: dict[str, Batch], part: dict[str, Batch], name: str, values: Tensor) -> float:
        """Factor on a mean over the values of a term in a part of this rank's batch."""
        names = BATCHES.get(name, list(batch))
        if sum(len(part[one].lengths) for one in names) > len(values):  # gradients of labeled examples only
            names = ["labeled"]
        if not self.global_batches:
            return len(values) / sum(len(batch[one].lengths) for one in names)
        return self.share(len(values), sum(self.global_batches[one].rows for one in names))

    def _count_tokens(self, batch: dict[str, Batch]) -> int:
        """Tokens of a step, on all ranks."""
        if self.global_batches:
            return sum(one.tokens for one in self.global_batches.values())
        return sum(int(b.lengths.sum()) for b in batch.values())

    def on_validation_epoch_start(self) -> None:
        """Start from empty sums: of the loss, and of the cells of the confusion matrix, (1 + C * C,)."""
        self.validation_sums = in_float64(torch.zeros(1 + self.num_classes**2, device=self.device))
        self.validation_outputs = []

    def validation_step(self, batch: Batch | None, batch_idx: int) -> None:
        """Sum the loss and the confusion matrix; None where no labels are there to validate with."""
        if batch is None:
            return
        logits = self.model(batch.tokens, batch.lengths)
        losses = in_float64(cross_entropy(logits, batch.labels))
        cells = in_float64(batch.labels * self.num_classes + logits.argmax(1))  # true by predicted class
        self.validation_sums[0] += losses.sum()
        self.validation_sums.index_add_(0, 1 + cells.long(), torch.ones_like(losses))
        if self.settings.temperature_scaling:
            self.validation_outputs.append((logits.cpu().double().numpy(), batch.labels.cpu().numpy()))

    def take_zero_share(self) -> float:
        """Share of the documents whose gradient was 0, over all ranks, since this was last asked; 0 without any."""
        counts = torch.tensor([float(self.zero_count), self.gradient_count], device=self.device)
        self.zero_count = self.gradient_count = 0
        zeros, documents = self.trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        return float(zeros / max(documents, 1))

    def take_class_shares(self) -> list[float]:
        """Mean prediction of the unlabeled documents of all ranks since this was last asked, (C,), or nothing."""
        if isinstance(self.class_sums, int):
            return []
        sums = self.trainer.strategy.reduce(self.class_sums, reduce_op="sum")
        self.class_sums = 0
        return (sums / sums.sum()).tolist()

    def on_validation_epoch_end(self) -> None:
        """Report error (percent), macro-F1 and cross entropy over all ranks, and the temperature where it is fitted."""
        loss, *cells = self.trainer.strategy.reduce(self.validation_sums, reduce_op="sum").tolist()
        confusion_matrix = np.reshape(cells, (self.num_classes, self.num_classes))
        count = confusion_matrix.sum()
        if not count:
            return
        error = 100 * (count - confusion_matrix.trace()) / count
        self.log(ERROR.monitor, torch.tensor(error), rank_zero_only=False)
        self.log(MACRO_F1.monitor, torch.tensor(macro_f1(confusion_matrix)), rank_zero_only=False)
        self.log("validation_loss", torch.tensor(loss / count))
        if self.settings.temperature_scaling:
            outputs = [part for parts in all_ranks(self.trainer, self.validation_outputs) for part in parts]
            logits, labels = (np.concatenate(values) for values in zip(*outputs, strict=True))
            self.card[TEMPERATURE] = fit_temperature(logits, labels)
            self.log(TEMPERATURE, torch.tensor(self.card[TEMPERATURE]))
