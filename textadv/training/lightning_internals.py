"""All that is used of Lightning beyond its public interface, each with its reason.

`tests/training/test_lightning_internals.py` says where Lightning changes one of them.
"""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


def validate_now(trainer: pl.Trainer) -> None:
    """Have a validation run after the step that has just been done.

    Lightning validates after every `val_check_interval` steps and has no hook for one more, after the last step.
    """
    trainer.val_check_batch = trainer.global_step


def change_max_steps(trainer: pl.Trainer, steps: int) -> None:
    """Set the number of steps of a run that has been set up.

    Lightning leaves a run of all its steps alone, so that the validation that its last step lacks would never be run.
    """
    trainer.fit_loop.epoch_loop.max_steps = steps


def disarm_sigterm(trainer: pl.Trainer) -> None:
    """Disarm Lightning's own handler of SIGTERM, which Lightning sets before the first step and which calls ours.

    It would end the run without a checkpoint and with 0, and speak to other ranks that do not listen.
    """
    trainer._signal_connector._sigterm_notifier_fn = lambda *_: None  # type: ignore[method-assign]


def averaged_parameters(callback: WeightAveraging) -> Iterator[Tensor]:
    """The averages that a callback keeps, in the order of the module's parameters.

    Its own update reads the number of steps from the device, once for each tensor.
    """
    assert callback._average_model is not None
    return callback._average_model.module.parameters()


def place_loop(state: dict[str, Any], step: int, due: bool, pending: bool) -> None:
    """Put Lightning's training loop between two steps.

    Lightning keeps its counters as they are at the moment of saving, and guesses from them what was going on. They all
    follow from the step.

    Args:
        state: The loop's state in a checkpoint, changed in place.
        step: Number of steps done.
        due: Whether a validation belongs after this step.
        pending: Whether it is still to be run.
    """
    done = dict.fromkeys(("ready", "started", "processed", "completed"), step)  # batches of the one endless epoch
    state["epoch_loop.batch_progress"] = {"total": done, "current": done, "is_last_batch": False}
    # Lightning passes the end of this step once more where a validation is due, and counts it there.
    state["epoch_loop.state_dict"]["_batches_that_stepped"] = step - due
    if pending:
        # What it takes for a validation that was broken off and is run anew: one batch begun, none finished.
        begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        state["epoch_loop.val_loop.batch_progress"] = {
            "total": begun,
            "current": dict.fromkeys(begun, 0),
            "is_last_batch": False,
        }
