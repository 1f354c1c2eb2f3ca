"""Pretraining: the language model over the token stream, and what a masked one has in common with it."""

from typing import Any

import torch
from torch import Tensor

from textadv.corpus.batching import StreamBatch
from textadv.models.encoders import State
from textadv.models.language_model import LanguageModel
from textadv.models.masked_lm import MaskedLanguageModel
from textadv.precision import in_float64
from textadv.settings import PretrainingSettings
from textadv.settings.training import PRETRAINING_LEARNING_RATE
from textadv.training.base import TrainingModule

STATES = "carried_states"


class PerplexityModule(TrainingModule):
    """A language model that is validated by its perplexity."""

    settings: PretrainingSettings

    def __init__(
        self,
        model: LanguageModel | MaskedLanguageModel,
        settings: PretrainingSettings,
        seed: int,
        card: dict[str, Any],
    ) -> None:
        super().__init__(model, settings, seed, card)
        self.validation_sums = torch.zeros(2)

    def on_validation_epoch_start(self) -> None:
        """Start from an empty sum."""
        self.validation_sums = in_float64(torch.zeros(2, device=self.device))

    def sum_losses(self, losses: Tensor, count: Tensor) -> None:
        """Add the losses of a batch, in nats, and of how many tokens they are, a scalar."""
        self.validation_sums += torch.stack([in_float64(losses).sum(), in_float64(count)])

    def on_validation_epoch_end(self) -> None:
        """Report the perplexity over the full vocabulary and all ranks."""
        loss, count = self.trainer.strategy.reduce(self.validation_sums, reduce_op="sum")
        self.log("validation_perplexity", (loss / count).exp().float())


class PretrainingModule(PerplexityModule):
    """Truncated backpropagation through time with carried state (Miyato et al. 2017, section 4.1).

    Args:
        model: The language model.
        settings: Window, candidates, dropout and optimizer.
        seed: Seed of dropout and candidates.
        card: What the checkpoint says about itself.
    """

    model: LanguageModel
    default_rate = PRETRAINING_LEARNING_RATE

    def __init__(self, model: LanguageModel, settings: PretrainingSettings, seed: int, card: dict[str, Any]) -> None:
        super().__init__(model, settings, seed, card)
        self.states: list[State] | None = None
        self.validation_states: list[State] | None = None

    def training_step(self, batch: StreamBatch, batch_idx: int) -> Tensor:
        """Mean loss per token of one window."""
        states = None if batch.starts else self.states
        losses, self.states = self.model(
            batch.tokens, batch.targets, states, self.settings.candidates, self.generator("stream")
        )
        # Of several ranks, one may have read nothing but the padding behind the end of the stream.
        count = self.global_batches["stream"].tokens if self.global_batches else batch.num_targets
        loss: Tensor = losses.sum() * self.share(1, count) if self.global_batches else losses.sum() / count
        self.log_means({"loss": loss})
        self.log("tokens", torch.tensor(float(count)))
        return loss

    def validation_step(self, batch: StreamBatch, batch_idx: int) -> None:
        """Sum the full-vocabulary loss."""
        states = None if batch.starts else self.validation_states
        losses, self.validation_states = self.model(batch.tokens, batch.targets, states, 0)
        self.sum_losses(losses, batch.targets.count_nonzero())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the carried state of all lanes, whichever rank reads them."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[STATES] = self.states and [tuple(map(self._all_lanes, state)) for state in self.states]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the carried state up again."""
        super().on_load_checkpoint(checkpoint)
        states = checkpoint[STATES]
        self.states = states and [tuple(map(self._own_lanes, state)) for state in states]

    def _all_lanes(self, values: Tensor) -> Tensor:
        """The values of this rank's lanes (1, B, H) among those of all others."""
        if self.trainer.world_size == 1:
            return values
        everything = values.new_zeros(values.shape[0], self.settings.batch_size, values.shape[2])
        everything[:, self.global_rank :: self.trainer.world_size] = values
        torch.distributed.all_reduce(everything)
        return everything

    def _own_lanes(self, values: Tensor) -> Tensor:
        """This rank's part of the values of all lanes (1, lanes, H)."""
        return values[:, self.global_rank :: self.trainer.world_size].contiguous().to(self.device)
