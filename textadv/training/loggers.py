"""Lightning's own loggers by name, for those who look at their curves elsewhere."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from textadv.errors import InputError, reason_of
from textadv.settings import TrainerSettings
from textadv.system.processes import is_main
from textadv.training.metrics_file import tensorboard

PROJECT = "textadv"


class Watchers(NamedTuple):
    """What a caller from Python adds to the Trainer."""

    callbacks: Sequence[Callback] = ()
    loggers: Sequence[Logger] = ()


NOBODY = Watchers()


class Forget(Callback):
    """Leaves the state of a caller's callbacks out of checkpoints, which hold tensors and primitives only.

    Args:
        callbacks: The caller's, which come before this one.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._keys = [callback.state_key for callback in callbacks]

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remove it."""
        for key in self._keys:
            checkpoint["callbacks"].pop(key, None)


def watchers_of(callbacks: Any, logger: Any) -> Watchers:
    """Callbacks and loggers, if they are such.

    Args:
        callbacks: A list of Lightning's callbacks, or None.
        logger: One of Lightning's loggers, a list of them, or None.

    Raises:
        InputError: They are something else.
    """
    loggers = [logger] if isinstance(logger, Logger) else logger
    for name, values, kind in (("callbacks", callbacks, Callback), ("logger", loggers, Logger)):
        is_list = values is None or isinstance(values, list | tuple)
        for value in values or [] if is_list else [values]:
            if not is_list or not isinstance(value, kind):
                raise InputError(f"{name} {value!r:.60}: must be {kind.__name__}s of pytorch_lightning, in a list")
    return Watchers(callbacks or (), loggers or ())


def _csv(folder: Path) -> Logger:
    return CSVLogger(folder, name="csv")


def _wandb(folder: Path) -> Logger:
    """Without the network, unless the environment asks for it: a training must not depend on a server."""
    offline = os.environ.get("WANDB_MODE", "offline") == "offline"
    quiet = {"silent": True}  # it writes tables to the terminal otherwise
    return WandbLogger(name=folder.name, save_dir=folder, project=PROJECT, offline=offline, settings=quiet)


MAKERS: dict[str, Callable[[Path], Logger]] = {"csv": _csv, "wandb": _wandb}
PACKAGES = {"wandb": "wandb"}  # what a logger needs besides Lightning


def require_loggers(trainer: TrainerSettings) -> None:
    """Refuse before anything is trained a logger that is not installed.

    Raises:
        InputError: Its package is missing.
    """
    for name in trainer.loggers:
        package = PACKAGES.get(name)
        if package is not None and find_spec(package) is None:
            flag = f"--trainer.logger {trainer.logger}"
            raise InputError(f"{flag}: the package {package} is missing; pip install {package}")


def build_loggers(trainer: TrainerSettings, folder: Path, resumed: bool) -> list[Logger]:
    """The loggers that the settings name; each start of a run has files of its own.

    Args:
        trainer: The settings.
        folder: The folder of the run.
        resumed: Whether it goes on.
    """
    loggers: list[Logger] = []
    for name in trainer.loggers:
        if name == "tensorboard":
            loggers += tensorboard(folder / name, resumed)
        else:
            loggers.append(SafeLogger(name, lambda maker=MAKERS[name]: maker(folder)))  # type: ignore[misc]
    return loggers


class SafeLogger(Logger):
    """A logger of Lightning's whose failure ends its curves, but not the training.

    Args:
        name: Of the logger, for people.
        make: Makes it.
    """

    def __init__(self, name: str, make: Callable[[], Logger]) -> None:
        super().__init__()
        self._name = name
        self._inner: Logger | None = None
        self._try(lambda _: setattr(self, "_inner", make()))

    @property
    def name(self) -> str:
        """Of the logger."""
        return self._name

    @property
    def version(self) -> str:
        """Lightning's have one."""
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the settings are in `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Hand on the values of a step."""
        if self._inner is not None:
            self._try(lambda logger: logger.log_metrics(metrics, step))

    @rank_zero_only
    def save(self) -> None:
        """Have the logger write what it has."""
        if self._inner is not None:
            self._try(lambda logger: logger.save())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the logger's run: the next training in this process has one of its own."""
        if self._inner is not None:
            self._try(lambda logger: _end(logger, status))

    def _try(self, action: Callable[[Any], Any]) -> None:
        """Do something with the logger, or do without it from here on."""
        try:
            action(self._inner)
        except Exception as error:  # whatever somebody else's logger raises is no reason not to train
            self._inner = None
            if is_main():
                print(f"textadv: no curves from here on for {self._name}: {reason_of(error)}", file=sys.stderr)


def _end(logger: Logger, status: str) -> None:
    """Close a logger's files, and a run of W&B's, which would go on with the next training of this process."""
    logger.finalize(status)
    if isinstance(logger, WandbLogger):
        logger.experiment.finish(0 if status == "success" else 1)
