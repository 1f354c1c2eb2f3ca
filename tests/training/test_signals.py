"""SIGTERM and SIGINT end a run in good order; the bits of what is resumed are compared in `test_resume.py`."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml
from readers import curves

from textadv.checkpoints import LAST, load_file
from textadv.corpus.store import TokenStore
from textadv.errors import Stopped
from textadv.settings import Experiment
from textadv.training import runs
from textadv.training.base import TrainingModule
from textadv.training.saving import LastCheckpoint
from textadv.training.signals import StopOnSignal

BOTH = pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
ROOT = Path(__file__).parents[2]


def send_at(patch: pytest.MonkeyPatch, owner: Any, name: str, signum: int) -> None:
    """Send this process a signal when a function is called for the first time."""
    original, pending = getattr(owner, name), [signum]

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if pending:
            os.kill(os.getpid(), pending.pop())
        return original(*arguments, **options)

    patch.setattr(owner, name, wrapped)


@BOTH
def test_a_signal_ends_the_run_after_the_step(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int, code: int
) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    send_at(monkeypatch, TrainingModule, "on_before_backward", signum)
    with pytest.raises(Stopped) as stop:
        runs.pretrain(experiment, store, tmp_path)
    assert (stop.value.code, stop.value.step, stop.value.checkpoint) == (code, 1, tmp_path / LAST)
    assert load_file(tmp_path / LAST)["global_step"] == 1
    assert before == [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize("moment", [(pl.Trainer, "fit"), (StopOnSignal, "on_train_start")])
def test_a_signal_before_the_first_step(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: tuple[Any, str]
) -> None:
    """Also where Lightning's own handler, which would end the process with 0, is in force for a moment."""
    send_at(monkeypatch, *moment, signal.SIGTERM)
    with pytest.raises(Stopped, match="after step 0, nothing is saved yet") as stop:
        runs.pretrain(experiment, store, tmp_path)
    assert (stop.value.code, stop.value.checkpoint) == (143, None)
    assert not (tmp_path / LAST).exists()


def test_a_signal_after_the_last_step(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_at(monkeypatch, pl.LightningModule, "on_train_end", signal.SIGINT)
    with pytest.raises(Stopped) as stop:
        runs.pretrain(experiment, store, tmp_path)
    assert (stop.value.code, stop.value.step) == (130, 6)
    runs.pretrain(experiment, store, tmp_path, tmp_path / LAST)


class Ranks:
    """A trainer as one of two ranks sees it."""

    def __init__(self, others: list[bool]) -> None:
        self.others = others
        self.world_size = 2
        self.global_step = 3
        self.strategy = self
        self.saved: list[int] = []

    def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
        assert not all
        return decision or self.others.pop(0)

    def save_checkpoint(self, path: Path) -> None:
        self.saved.append(self.global_step)


def test_ranks_stop_together() -> None:
    """A rank that got no signal saves and stops as the one that did, with the same code."""
    last = LastCheckpoint(Path("run"), None)  # type: ignore[arg-type]
    stop = StopOnSignal(last)
    trainer: Any = Ranks([False])
    stop.on_train_batch_start(trainer, None, None, 0)  # type: ignore[arg-type]
    assert not trainer.saved
    for interrupted, code in ((False, 143), (True, 130)):
        last.step = 0
        trainer = Ranks([True, interrupted])
        with pytest.raises(Stopped) as stopped:
            stop.on_train_batch_start(trainer, None, None, 0)  # type: ignore[arg-type]
        assert (stopped.value.code, trainer.saved) == (code, [3])


FLAGS = {
    "tokenizer": {"min_documents": 1},
    "model": {"embedding_size": 6, "hidden_size": 7, "head_size": 5},
    "finetuning": {"batch_size": 4, "unlabeled_batch_size": 4, "epsilon": 0.5, "validate_every": 10, "patience": 10**6},
    "trainer": {"accelerator": "cpu"},
}
SECOND = """
import os, signal, sys
from textadv.training.signals import StopOnSignal
with StopOnSignal(None) as stop:
    os.kill(os.getpid(), {first})
    print(len(stop.received), flush=True)
    os.kill(os.getpid(), {second})
    print(len(stop.received), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_of_the_same_kind_ends_the_process_at_once(first: int, second: int) -> None:
    code = SECOND.format(first=int(first), second=int(second))
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.stdout.split() == (["1"] if first == second else ["1", "2"])
    assert process.returncode == (-second if first == second else 0), process.stderr


@pytest.mark.slow
@BOTH
def test_the_command_stops_and_goes_on(tmp_path: Path, signum: int, code: int) -> None:
    rows = [(f"the film number{i} was {word}", label) for i in range(20) for word, label in (("good", 1), ("bad", 0))]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(FLAGS))
    base = [sys.executable, "-m", "train", "finetune", "--config", "config.yaml", "--data.train", "train.csv"]
    base += ["--pretrained", "none", "--finetuning.method", "adversarial"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start(output: str, steps: int, *flags: str) -> subprocess.Popen[str]:
        command = [*base, "--output", output, "--finetuning.steps", str(steps), *flags]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    process = start("parts", 10**6)
    assert process.stderr is not None
    line = ""
    while "step 20/" not in line:
        line = process.stderr.readline()
    sent = time.monotonic()
    process.send_signal(signum)
    with process.stderr:
        lines = process.stderr.read().splitlines()
    assert process.wait() == code, lines
    assert time.monotonic() - sent < 10
    told = [line for line in lines if line.startswith("textadv: ")]
    step = load_file(tmp_path / "parts" / LAST)["global_step"]
    name = signal.Signals(signum).name
    assert told == [
        f"textadv: stopped by {name} after step {step}, saved in parts/last.ckpt; "
        "`textadv finetune --resume --output parts` with the same settings goes on from there"
    ]
    steps = (step // 10 + 2) * 10
    for output, flags in (("parts", ["--resume"]), ("whole", [])):
        process = start(output, steps, *flags)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    parts, whole = (load_file(tmp_path / name / LAST)["current_model_state"] for name in ("parts", "whole"))
    assert all((parts[name] == whole[name]).all() for name in whole)
    assert curves(tmp_path / "parts") == curves(tmp_path / "whole")
