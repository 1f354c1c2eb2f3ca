"""What pretraining and fine-tuning share: random numbers by step, optimizer, clipping, the card in the checkpoint."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from textadv.checkpoints import CARD, require_same_run
from textadv.corpus.batching import GlobalBatch
from textadv.draws import Generator, RowGenerator
from textadv.models.classifier import Classifier
from textadv.models.language_model import LanguageModel
from textadv.models.masked_lm import MaskedLanguageModel
from textadv.settings import FinetuningSettings, PretrainingSettings
from textadv.settings.training import LEARNING_RATE
from textadv.training.guards import FiniteGuard

STEPS_UNWATCHED = 20  # between two looks at a device that the host does not wait for otherwise


class TrainingModule(pl.LightningModule):
    """A network, its settings, and reproducible steps.

    Every step has generators of its own, seeded from (seed, step), so a resumed run draws the same dropout masks and
    perturbations as an undisturbed one, and several processes those of a single one (`textadv.draws`).

    Args:
        model: The network.
        settings: Learning rate, warm-up, decay and clipping.
        seed: Seed of dropout, candidates and directions.
        card: What the checkpoint says about itself, see `textadv.checkpoints.model_card`.
    """

    default_rate = LEARNING_RATE  # where the settings have none

    def __init__(
        self,
        model: LanguageModel | MaskedLanguageModel | Classifier,
        settings: PretrainingSettings | FinetuningSettings,
        seed: int,
        card: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.seed = seed
        self.card = card
        self.loss = torch.zeros(())
        self.finite = FiniteGuard()
        self.global_batches: dict[str, GlobalBatch] = {}  # sizes of the batches over all ranks; none on one process

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Note how large the batches of all ranks are."""
        if self.trainer.world_size > 1:
            self.global_batches = self.trainer.datamodule.global_batch(self.global_step)  # type: ignore[attr-defined]

    @property
    def check_every(self) -> int:
        """Steps between two looks at whether all numbers are finite.

        To look at a CPU costs nothing, and MPS's fused optimizer does not skip a step that is not.
        """
        return 1 if self.device.type in ("cpu", "mps") else STEPS_UNWATCHED

    def generator(self, name: str) -> Generator:
        """Where the random numbers of this step come from: each row's depend on seed, step, batch and row alone.

        Args:
            name: Of the batch that they are drawn for.
        """
        return self.batch_generator(name, self.global_step, self.global_batches.get(name))

    def batch_generator(
        self, name: str, number: int, size: GlobalBatch | None, part: int = 0, parts: int = 1
    ) -> Generator:
        """Where the random numbers of a batch come from.

        Args:
            name: Of the batches that it is one of.
            number: Which of them.
            size: That of the batch over all ranks; None on one process that reads the whole of it.
            part: Which part of this rank's rows: row `part`, and then every `parts`-th.
            parts: How many parts they have.
        """
        sequence = np.random.SeedSequence([self.seed, number, *name.encode()])
        generator = torch.Generator(self.device).manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
        if size is None:
            return generator
        ranks = self.trainer.world_size
        mine = slice(self.global_rank + part * ranks, None, parts * ranks)
        return RowGenerator(generator, size.rows, size.width, mine)

    def share(self, count: int, total: int) -> float:
        """Factor on this rank's mean over `count` of `total` values: the ranks' mean is then that over all values.

        DDP averages gradients over the ranks, whose parts of a batch may differ in size.
        """
        return count * self.trainer.world_size / total if self.global_batches else 1.0

    def mean_of_ranks(self, values: Tensor) -> Tensor:
        """The mean over the ranks of what each has, which changes in place; every rank has to ask."""
        if self.global_batches:
            torch.distributed.all_reduce(values)
            values /= self.trainer.world_size
        return values

    def log_means(self, means: dict[str, Tensor]) -> None:
        """Log means over the batch of all ranks, of what each has to add to them; of several values the largest."""
        values = self.mean_of_ranks(torch.cat([mean.detach().flatten() for mean in means.values()]))
        parts = torch.split(values, [mean.numel() for mean in means.values()])
        self.log_dict({name: part.max() for name, part in zip(means, parts, strict=True)})

    def build_optimizer(self) -> torch.optim.Optimizer:
        """Adam on all parameters."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=True)

    @property
    def learning_rate(self) -> float:
        """Step size before warm-up and decay."""
        return self.default_rate if self.settings.learning_rate is None else self.settings.learning_rate

    def decay(self, step: int) -> float:
        """Factor on the learning rate, exponential in the step."""
        return float(self.settings.learning_rate_decay**step)

    def linear_decay(self, step: int) -> float:
        """A factor that falls linearly to 0 at the last step, as Transformers are trained."""
        return max(0.0, 1.0 - step / self.settings.steps)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Linear warm-up and decay per step."""
        optimizer, warmup_steps = self.build_optimizer(), max(1, self.settings.warmup_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.decay(step) * min(1.0, (step + 1) / warmup_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_backward(self, loss: Tensor) -> None:
        """Remember the loss, to be checked together with the gradients."""
        self.loss = loss.detach()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients but the embeddings' (as the paper's code does); stop where one is not finite.

        This comes before the optimizer's step, so that no weight has changed. A CPU is looked at in every step.
        """
        embedding = self.model.encoder.embedding_parameters()
        others = [p for p in self.parameters() if not any(p is other for other in embedding)]
        norm = nn.utils.clip_grad_norm_(others, self.settings.gradient_clip)
        self.log("gradient_norm", norm)
        self.log("learning_rate", torch.tensor(max(group["lr"] for group in optimizer.param_groups)))
        embeddings = [p.grad for p in embedding if p.grad is not None]
        self.finite.note(self.global_step, self.loss, norm + nn.utils.get_total_norm(embeddings))
        optimizer.found_inf = self.finite.skip  # type: ignore[attr-defined]
        if (self.global_step + 1) % self.check_every == 0:
            self.finite.check(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the card, unless the run has to stop.

        Raises:
            InputError: A step since the last look was not finite.
        """
        self.finite.check(self)
        checkpoint[CARD] = self.card

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make sure that the run to go on with is this one.

        Raises:
            InputError: It is another one.
        """
        require_same_run(checkpoint.get(CARD, {}), self.card)
