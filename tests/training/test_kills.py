"""`kill -9` at random moments, then going on: the same as an undisturbed run, every time."""

import multiprocessing
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from readers import curves, equal

from textadv.checkpoints import BEST, LAST, load_file, newest_intact
from textadv.corpus.store import TokenStore
from textadv.settings import Experiment

TRIALS = 20
TRAIN = """
from textadv.training import runs
runs.LOG_EVERY = 1
getattr(runs, kind)(*arguments)
"""
pytestmark = pytest.mark.slow


class Sessions:
    """Processes that train, forked from one that has everything imported."""

    def __init__(self, kind: str, experiment: Experiment, store: TokenStore) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["textadv.training.runs"])
        self.kind, self.experiment, self.store = kind, experiment, store

    def run(self, folder: Path, seconds: float | None = None) -> bool:
        """Train, or go on, until the end or a kill; returns whether it came to its end."""
        last, _ = newest_intact(folder)
        arguments: list[Any] = [self.experiment, self.store, folder, *([None] if self.kind == "finetune" else []), last]
        process = self.context.Process(target=exec, args=(TRAIN, {"kind": self.kind, "arguments": arguments}))
        process.start()
        process.join(seconds)
        killed = process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode == 0 or killed
        return not killed


def state(folder: Path) -> dict[str, Any]:
    """What must be the same to the bit."""
    last = load_file(folder / LAST)
    kept = {name: last[name] for name in ("state_dict", "optimizer_states", "carried_states") if name in last}
    kept["stopping"] = [value.get("wait_count") for value in last["callbacks"].values()]
    best = load_file(folder / BEST)["state_dict"] if (folder / BEST).exists() else None
    return kept | {"best": best, "metrics": curves(folder)}


def step_of(folder: Path) -> int:
    """Where a killed run goes on from; 0 for its start."""
    last, damaged = newest_intact(folder)
    assert not damaged
    step: int = 0 if last is None else load_file(last)["global_step"]
    return step


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_killed_at_random_moments(kind: str, experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    """Every run is killed once, most of them twice."""
    changes = {"steps": 64, "validate_every": 5}
    experiment = replace(
        experiment,
        pretraining=replace(experiment.pretraining, **changes),  # type: ignore[arg-type]
        finetuning=replace(experiment.finetuning, patience=100, **changes),  # type: ignore[arg-type]
    )
    sessions = Sessions(kind, experiment, store)
    sessions.run(tmp_path / "warm-up")
    started = time.monotonic()
    sessions.run(tmp_path / "whole")
    duration = time.monotonic() - started
    expected = state(tmp_path / "whole")
    rng = random.Random(0)
    steps = []
    for trial in range(TRIALS):
        folder = tmp_path / str(trial)
        while sessions.run(folder, rng.uniform(0.1, 0.9) * duration):  # too late: the machine has become faster
            shutil.rmtree(folder)
            duration *= 0.8
        steps.append(step_of(folder))
        if not sessions.run(folder, rng.uniform(0.1, 0.5) * duration):  # what goes on is killed as well
            steps.append(step_of(folder))
        assert sessions.run(folder)
        assert equal(state(folder), expected), (trial, steps)
        assert sum(bool(row["loss"]) for row in curves(folder)) == 64
    print(f"{kind}: {TRIALS} runs, {len(steps)} kills, going on from steps {steps}")
    assert len(set(steps)) > 3
