"""Callbacks: progress, the average of the weights, early stopping."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, WeightAveraging
from tqdm import tqdm

from textadv.training.lightning_internals import averaged_parameters
from textadv.training.selection import Measure

LINE_SECONDS = 15.0
ZERO_SHARE = 0.01
COLLAPSED = 0.1
SPEED = "tokens_per_second"
tqdm.set_lock(threading.RLock())  # one process writes; a lock between processes would outlive one that is killed


class Progress(Callback):
    """A bar on a terminal, otherwise a plain line every few seconds; counts and logs real tokens per second.

    Lightning's `TQDMProgressBar` knows no end of endless loaders and writes carriage returns into files, to stdout. Its
    `ThroughputMonitor` has each step wait for the GPU and counts what one rank reads.

    Args:
        description: What is running.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self.tokens = self.seconds = 0.0
        self._row = (0.0, 0.0)  # tokens and seconds up to the last row of the curves
        self._bar: tqdm[Any] = tqdm(disable=True)
        self._first_step = 0
        self._started = self._step_started = self._line_due = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Real tokens per second of training steps, validation not counted."""
        return self.tokens / max(self.seconds, 1e-9)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self._started = time.perf_counter()
        self._line_due = self._started + LINE_SECONDS
        self._first_step = step = trainer.global_step
        hidden = None if trainer.is_global_zero else True  # None is for where there is no terminal
        self._bar = tqdm(total=trainer.max_steps, initial=step, desc=self.description, unit="step", disable=hidden)

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the step's clock."""
        self._step_started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Count the step and show where the run stands."""
        now = time.perf_counter()
        self.seconds += now - self._step_started
        self.tokens += float(trainer.callback_metrics["tokens"])
        self._bar.update(1)
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            # Of all steps since the last row: a GPU is waited for in one of them only.
            tokens, seconds = self._row
            pl_module.log(SPEED, torch.tensor((self.tokens - tokens) / (self.seconds - seconds)))
            self._row = (self.tokens, self.seconds)
            if not self._bar.disable:
                self._bar.set_postfix_str(self._figures(trainer))
        if self._bar.disable and now >= self._line_due:
            self._line_due = now + LINE_SECONDS
            self._print(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Show the figures of a validation."""
        self._print(trainer)

    def on_train_end(self, *_: Any) -> None:
        """Close the bar."""
        self._bar.close()

    def on_exception(self, *_: Any) -> None:
        """Close the bar."""
        self._bar.close()

    def _figures(self, trainer: pl.Trainer) -> str:
        logged = trainer.callback_metrics
        names = ["loss", "validation_perplexity", "validation_error"]
        stopping = trainer.early_stopping_callback
        names += [stopping.monitor] if stopping is not None and stopping.monitor not in names else []
        shown = [f"{name.replace('_', ' ')} {float(logged[name]):.4g}" for name in names if name in logged]
        return ", ".join([*shown, f"{self.tokens_per_second:,.0f} tokens/s"])

    def _print(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        elapsed = time.perf_counter() - self._started
        done = trainer.global_step - self._first_step
        left = elapsed / max(done, 1) * max(trainer.max_steps - trainer.global_step, 0)
        line = f"{self.description}: step {trainer.global_step}/{trainer.max_steps}, {self._figures(trainer)}, "
        tqdm.write(f"{line}{elapsed:.0f} s, at most {left:.0f} s left", file=sys.stderr)
        sys.stderr.flush()


class SayOnce(Callback):
    """Says once, at a validation, what has gone wrong in the steps since the last one.

    Args:
        find: Called on every rank after each validation; yields the words, or None where nothing has.
    """

    def __init__(self, find: Callable[[], str | None]) -> None:
        self._find = find
        self._told = False

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Look at all documents since the last validation."""
        found = self._find()
        if found and trainer.is_global_zero and not self._told:
            self._told = True
            tqdm.write(f"textadv: up to step {trainer.global_step} {found}", file=sys.stderr)


def zero_gradients_warning(share: float) -> str | None:
    """Words for a gradient that is 0 for more than a percent of the documents.

    No perturbation can be found for them. Virtual adversarial training rewards that: a prediction that is the same for
    all texts is the smoothest.

    Args:
        share: Share of such documents.
    """
    if share <= ZERO_SHARE:
        return None
    return (
        f"the gradient is 0 for {share:.1%} of the documents, which therefore have no perturbation: the classifier "
        "does not depend on their words. A smaller --finetuning.epsilon or a longer --finetuning.ramp_steps may help, "
        "and another --model.head_activation where the head has a hidden layer"
    )


def collapse_warning(predicted: Sequence[float], labeled: Sequence[float], classes: Sequence[str]) -> str | None:
    """Words for a classifier that puts nearly all unlabeled text into one class.

    That is the easiest way to be smooth, so that virtual adversarial training and entropy reward it where few labels
    speak against it. It is measured by the labeled texts, since the classes may be uneven: all other classes together
    have less than a tenth of what they have there. With two classes of equal size, one then has more than 95 %.

    Args:
        predicted: Mean prediction on unlabeled text, (C,), or nothing if there was none.
        labeled: Share of each class in the labeled texts, (C,).
        classes: Names of the classes.
    """
    largest = max(range(len(predicted)), key=predicted.__getitem__, default=None)
    if largest is None or 1 - predicted[largest] >= COLLAPSED * (1 - labeled[largest]):
        return None
    return (
        f"the mean prediction on unlabeled text gives {predicted[largest]:.1%} to class {classes[largest]!r}, which "
        f"{labeled[largest]:.1%} of the labeled texts have: the classifier has collapsed. More labels, "
        "--finetuning.balance_weight, a smaller --finetuning.epsilon, a smaller --finetuning.vat_weight or a longer "
        "--finetuning.ramp_steps may help"
    )


class WeightEMA(WeightAveraging):
    """Exponential moving average of the weights, used in validation and kept by the checkpoint.

    The decay rises as (1 + t) / (10 + t) up to its bound, so that a short run does not average in its start.

    Lightning's own update has each step wait for the device: torch's `AveragedModel` reads its count of steps there.

    Args:
        decay: Bound on the decay.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False)
        self.decay = decay

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Take the weights after a step into the average; the first ones are its start."""
        t = trainer.global_step - 1
        decay = min(self.decay, (1 + t) / (10 + t))
        for mean, current in zip(averaged_parameters(self), pl_module.parameters(), strict=True):
            mean.copy_(torch.lerp(current, mean, decay) if t else current)


class Patience(EarlyStopping):
    """Early stopping on a figure of validation that holds in a resumed run as well.

    Lightning's takes the patience of the checkpoint, and trains a run that it had stopped up to the next validation.

    Args:
        patience: Validations without improvement before training stops; may differ from that of the resumed run.
        measure: What has to improve.
    """

    def __init__(self, patience: int, measure: Measure) -> None:
        super().__init__(measure.monitor, mode=measure.mode, patience=patience)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the count of validations up again."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave a run stopped that had been."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True
