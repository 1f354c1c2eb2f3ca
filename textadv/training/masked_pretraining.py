"""Pretraining of a Transformer: masked language modelling goes on, on text of the task."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from textadv.corpus.batching import Batch
from textadv.corpus.pretraining_documents import MaskedPretrainingData
from textadv.draws import Generator
from textadv.models.masked_lm import MaskedLanguageModel, mask_words
from textadv.settings import PretrainingSettings
from textadv.settings.training import TRANSFORMER_LEARNING_RATE
from textadv.training.pretraining import PerplexityModule
from textadv.training.rates import parameter_groups

WEIGHT_DECAY = 0.01  # Devlin et al. 2019, appendix A.2


class MaskedPretrainingModule(PerplexityModule):
    """Whole words of a document are hidden, 15 % of them, and predicted (Devlin et al. 2019, section 3.1).

    Every batch has masks of its own, those of validation are the same each time.

    Args:
        model: The masked language model.
        settings: Batch size and optimizer.
        seed: Seed of masks and dropout.
        card: What the checkpoint says about itself.
        mask_token: Id of the mask.
        continues: Which entries of the vocabulary go on with the word before them, shape (V,).
    """

    model: MaskedLanguageModel
    default_rate = TRANSFORMER_LEARNING_RATE
    continues: Tensor
    replacements: Tensor

    def __init__(
        self,
        model: MaskedLanguageModel,
        settings: PretrainingSettings,
        seed: int,
        card: dict[str, Any],
        mask_token: int,
        continues: Tensor,
    ) -> None:
        super().__init__(model, settings, seed, card)
        self.mask_token = mask_token
        self.register_buffer("continues", continues, persistent=False)
        self.register_buffer("replacements", (~model.encoder.is_special).nonzero()[:, 0], persistent=False)

    def build_optimizer(self) -> torch.optim.Optimizer:
        """AdamW at the same rate for all layers."""
        groups = parameter_groups(self.model.encoder, self.model.head, self.learning_rate, 1.0, WEIGHT_DECAY)
        return torch.optim.AdamW(groups, fused=True)

    def decay(self, step: int) -> float:
        """Factor on the learning rate, which falls linearly to 0 at the last step."""
        return self.linear_decay(step)

    def losses(self, batch: Batch, generator: Generator) -> Tensor:
        """Cross entropy of each token that is hidden, in nats.

        Args:
            batch: Documents, B of them.
            generator: Source of the masks and of the dropout.

        Returns:
            Shape (N,), without any word none.
        """
        may_change = self.model.encoder.perturbation_mask(batch.tokens, batch.lengths)
        read, chosen = mask_words(
            batch.tokens, may_change, self.continues, self.mask_token, self.replacements, generator=generator
        )
        logits = self.model(read, batch.lengths, chosen, generator)
        return F.cross_entropy(logits, batch.tokens[chosen], reduction="none")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss of the hidden tokens of all ranks."""
        losses = self.losses(batch, self.generator("documents"))
        # DDP averages over the ranks, of which each hides as many as chance has it; there may be none at all.
        count = self.mean_of_ranks(torch.full_like(losses.detach().sum(), len(losses)))
        loss = losses.sum() / count.where(count > 0, 1.0)
        self.log_means({"loss": loss})
        read = self.global_batches["documents"].tokens if self.global_batches else int(batch.lengths.sum())
        self.log("tokens", torch.tensor(float(read)))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Sum the loss under the masks of this batch, which are those of all validations."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, MaskedPretrainingData)
        size = data.validation.global_batch(batch_idx) if self.trainer.world_size > 1 else None
        losses = self.losses(batch, self.batch_generator("validation", batch_idx, size))
        self.sum_losses(losses, torch.tensor(len(losses), device=self.device))
