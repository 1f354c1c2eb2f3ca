"""Where curves go: Lightning's loggers by name, and those of a caller."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger

from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import Experiment, TrainerSettings
from textadv.settings.machine import LOGGERS
from textadv.training import loggers, runs
from textadv.training.loggers import MAKERS, build_loggers, require_loggers, watchers_of

NAMES = ("config.yaml", "tensorboard", "csv", "wandb")


class Recorder(Logger):
    """Raises where it is told to."""

    name = version = ""

    def __init__(self, broken: str = "") -> None:
        super().__init__()
        self.broken, self.calls = broken, list[str]()
        self._do("make")

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if what == self.broken:
            raise RuntimeError("no more\nspace")

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._do("log")

    def save(self) -> None:
        self._do("save")

    def finalize(self, status: str) -> None:
        self._do("finalize")


@pytest.fixture(autouse=True)
def each_step_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LOG_EVERY", 1)


def with_logger(experiment: Experiment, logger: str) -> Experiment:
    return replace(experiment, trainer=replace(experiment.trainer, logger=logger))


def losses(file: Path) -> list[float]:
    with file.open() as lines:
        return [float(row["loss"]) for row in csv.DictReader(lines) if row["loss"]]


def test_every_name_has_a_logger() -> None:
    assert {"tensorboard", *MAKERS} == set(LOGGERS)


def test_lightnings_csv(experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    """In a resumed run it has a file of its own, and the curves of textadv are those of an undisturbed run."""
    short = replace(experiment, finetuning=replace(experiment.finetuning, steps=4))
    runs.finetune(with_logger(short, "csv"), store, tmp_path / "parts", None)
    last = tmp_path / "parts" / "last.ckpt"
    runs.finetune(with_logger(experiment, "csv"), store, tmp_path / "parts", None, last)
    runs.finetune(with_logger(experiment, "none"), store, tmp_path / "whole", None)
    whole = losses(tmp_path / "whole" / "metrics.csv")
    assert losses(tmp_path / "parts" / "metrics.csv") == whole
    starts = [losses(tmp_path / "parts" / "csv" / f"version_{start}" / "metrics.csv") for start in (0, 1)]
    assert [*starts[0], *starts[1]] == whole
    assert starts[0]
    assert starts[1]
    assert not {file.name for file in (tmp_path / "whole").iterdir()} & set(NAMES)
    assert not (tmp_path / "parts" / "tensorboard").exists()


@pytest.mark.parametrize("broken", ["make", "log", "save", "finalize"])
def test_a_logger_that_fails_does_not_stop_the_training(
    experiment: Experiment,
    store: TokenStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    monkeypatch.setitem(MAKERS, "csv", lambda folder: Recorder(broken))
    assert runs.pretrain(with_logger(experiment, "csv"), store, tmp_path)["steps"] == experiment.pretraining.steps
    told = [line for line in capsys.readouterr().err.splitlines() if "textadv:" in line]
    assert told == ["textadv: no curves from here on for csv: no more space"]


def test_a_run_of_wandb_ends_with_its_training(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the network, unless the environment asks for it: `WandbLogger` itself needs the package."""
    made: list[Any] = []

    class Stub(Recorder):
        """The arguments of `WandbLogger`, and of a run that it opens."""

        def __init__(self, name: str, save_dir: Path, project: str, offline: bool, settings: dict[str, Any]) -> None:
            super().__init__()
            self.place, self.offline, self.experiment = save_dir / name, offline, self
            made.append(self)

        def finish(self, exit_code: int) -> None:
            self.calls.append(f"finish {exit_code}")

    monkeypatch.setattr(loggers, "WandbLogger", Stub)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    runs.pretrain(with_logger(experiment, "wandb"), store, tmp_path)
    assert made[0].place == tmp_path / tmp_path.name
    assert made[0].offline
    assert made[0].calls[-2:] == ["finalize", "finish 0"]
    monkeypatch.setenv("WANDB_MODE", "online")
    build_loggers(TrainerSettings(logger="wandb"), tmp_path, resumed=False)
    assert not made[1].offline


def test_a_logger_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    require_loggers(TrainerSettings(logger="tensorboard, csv"))
    require_loggers(TrainerSettings(logger="none"))
    with pytest.raises(InputError) as refused:
        require_loggers(TrainerSettings(logger="csv,wandb"))
    message = "--trainer.logger csv,wandb: the package wandb is missing; pip install wandb"
    assert str(refused.value) == message


@pytest.mark.parametrize("logger", ["neptune", "csv,", "", "none,csv", "pytorch_lightning.loggers.CSVLogger"])
def test_another_name_is_refused(logger: str) -> None:
    with pytest.raises(InputError, match=r"^--trainer.logger .*: '.*' is none of tensorboard, csv, wandb, none$"):
        TrainerSettings(logger=logger)


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        TrainerSettings(logger="csv,csv")


@pytest.mark.parametrize("make", [lambda one: one, lambda one: [one], lambda one: (one,)])
def test_one_logger_or_several(make: Callable[[Logger], Any], tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    assert list(watchers_of(None, make(logger)).loggers) == [logger]
    assert watchers_of(None, None) == ((), ())


@pytest.mark.parametrize(
    ("callbacks", "logger", "message"),
    [
        (Callback(), None, "callbacks <.*: must be Callbacks of pytorch_lightning, in a list"),
        ([print], None, "callbacks <built-in function print>: must be"),
        (None, "csv", "logger 'csv': must be Loggers of pytorch_lightning, in a list"),
        (None, [Callback()], "logger <.*: must be Loggers"),
    ],
)
def test_what_is_no_callback_or_logger_is_refused(callbacks: Any, logger: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        watchers_of(callbacks, logger)
