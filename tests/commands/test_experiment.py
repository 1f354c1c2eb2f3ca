"""The command as a user calls it: what it writes, refuses, goes on with, and never reads."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import SMALL, Run, refused

from textadv.commands import shared
from textadv.corpus.store import Split, TokenStore
from textadv.training import runs
from textadv.training.finetuning import FinetuningModule

Grid = Callable[..., Path]
OF_TIME = ("seconds", "tokens_per_second", "finished")


@pytest.fixture
def grid(tmp_path: Path, corpus: list[str]) -> Grid:
    """Writes the file of a grid on the tiny corpus: two settings, two seeds."""
    data = {flag.removeprefix("--data."): value for flag, value in zip(corpus[::2], corpus[1::2], strict=True)}

    def write(**changes: Any) -> Path:
        content = {
            "base": SMALL | {"data": data},
            "settings": {"none": {"finetuning.method": "none"}, "both": {}},
            "baseline": "none",
            "labels": [{"data.labels_per_class": 5}],
            "seeds": [{"seed": 0, "data.seed": 0}, {"seed": 1, "data.seed": 1}],
        }
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(content | changes, sort_keys=False), encoding="utf-8")
        return path

    return write


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def figures(folder: Path) -> list[dict[str, Any]]:
    """The rows without what depends on the clock."""
    return [{key: value for key, value in row.items() if key not in OF_TIME} for row in results(folder)]


def never(*arguments: object, **options: object) -> None:
    raise AssertionError("is not to be done")


def test_a_grid_from_beginning_to_end(
    run: Run, grid: Grid, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "e"
    pretrained: list[Path] = []
    pretrain = runs.pretrain
    monkeypatch.setattr(runs, "pretrain", lambda *a, **o: pretrained.append(a[2]) or pretrain(*a, **o))
    run("experiment", "--config", grid(), "--output", output)
    assert len(pretrained) == 1  # for four runs with two seeds
    rows = results(output)
    assert [(row["setting"], row["seeds"]["seed"]) for row in rows] == [
        ("none", 0),
        ("none", 1),
        ("both", 0),
        ("both", 1),
    ]
    for row in rows:
        own = output / "runs" / row["run"]
        with (own / "metrics.csv").open() as file:
            curve = [float(line["validation_error"]) for line in csv.DictReader(file) if line["validation_error"]]
        assert row["validation"]["error"] == pytest.approx(min(curve), abs=1e-4)
        assert row["labels"] == {"train": 10, "validation": 6, "total": 16}
        assert (row["steps"], row["test"]) == (4, None)
        assert row["seconds"] > 0
        assert row["tokens_per_second"] > 0
        assert row["versions"]["textadv"]
        assert row["machine"]
        assert {file.name for file in own.glob("*.ckpt")} == {"best.ckpt"}
    configs = [yaml.safe_load((output / "runs" / row["run"] / "config.yaml").read_text()) for row in rows]
    assert len({config["data"]["source"] for config in configs}) == 1  # one store, of which labels are drawn anew
    assert [config["data"]["seed"] for config in configs] == [0, 1, 0, 1]
    table = (output / "table.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == table
    assert "The test split was not read." in table

    monkeypatch.setattr(runs, "finetune", never)
    run("experiment", "--config", grid(), "--output", output)  # nothing is left to do
    assert results(output) == rows
    run("experiment", "--config", grid(), "--output", output, "--final")
    for row, read in zip(rows, results(output), strict=True):
        assert read["test"].pop("read_by").endswith("--final")
        assert read["test"].pop("read_on")
        assert read.pop("test").keys() == {"error", "macro_f1", "calibration_error"}
        assert read == {key: value for key, value in row.items() if key != "test"}
    table = (output / "table.md").read_text(encoding="utf-8")
    assert "test error" in table
    assert "--final`, for 4 of 4 runs" in table
    capsys.readouterr()
    run("evaluate", "--checkpoint", output / "runs" / rows[3]["run"], "--output", tmp_path / "v")
    assert json.loads(capsys.readouterr().out)["error"] == results(output)[3]["test"]["error"]


class _Guarded(dict[str, Split]):
    """Splits of which test must not be looked at."""

    def __getitem__(self, name: str) -> Split:
        if name == "test":
            raise AssertionError("the test split was read")
        return super().__getitem__(name)


def test_without_final_the_test_split_is_not_read(
    run: Run, grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = shared.prepare

    def guarded(*settings: Any) -> TokenStore:
        store = prepare(*settings)
        return replace(store, splits=_Guarded(store.splits))

    monkeypatch.setattr(shared, "prepare", guarded)
    path = grid(settings={"none": {"finetuning.method": "none"}}, seeds=[{"seed": 0}], pretrained="none")
    run("experiment", "--config", path, "--output", tmp_path / "e")
    with pytest.raises(AssertionError, match="the test split was read"):
        run("experiment", "--config", path, "--output", tmp_path / "e", "--final")


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"settings": {"none": {"finetuning.methods": "none"}}, "baseline": None}, "finetuning.methods"),
        ({"labels": [{"data.labels_per_class": 500}]}, "--data.labels_per_class 500"),
        ({"pretrained": "missing.ckpt"}, "missing.ckpt"),
        ({"seeds": [{"seed": 0, "finetuning.adversary": "magic-l2"}]}, "magic"),
        ({"settings": {"tfidf": {"contender": "tfidf"}}, "baseline": None}, 'pip install -e ".[experiments]"'),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_trained(
    run: Run,
    grid: Grid,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    culprit: str,
) -> None:
    monkeypatch.setattr(runs, "pretrain", never)
    monkeypatch.setattr(runs, "finetune", never)
    monkeypatch.setattr("textadv.experiments.tfidf.find_spec", lambda name: None)
    line = refused(run, capsys, "experiment", "--config", grid(**changes), "--output", tmp_path / "e")
    assert culprit in line
    assert "grid.yaml: " in line


def test_a_change_of_finished_runs_is_refused(
    run: Run, grid: Grid, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", tmp_path / "e"]
    one = {"settings": {"none": {"finetuning.method": "none"}}, "seeds": [{"seed": 0}]}
    run("experiment", "--config", grid(**one), *output)
    changed = grid(settings={"none": {"finetuning.method": "none", "finetuning.dropout": 0.1}}, seeds=[{"seed": 0}])
    line = refused(run, capsys, "experiment", "--config", changed, *output, "--resume")
    assert "grid.yaml: finetuning.dropout is 0.1, but was 0.5" in line
    assert "another --output" in line
    assert "--resume: --output" in refused(run, capsys, "experiment", "--config", changed, "--resume")


def test_a_run_that_fails_does_not_stop_the_others(
    run: Run, grid: Grid, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lm.ckpt").write_text("no checkpoint")
    none = {"finetuning.method": "none", "pretrained": "none"}
    path = grid(settings={"broken": none | {"pretrained": "lm.ckpt"}, "none": none}, seeds=[{"seed": 0}])
    with pytest.raises(SystemExit) as stop:
        run("experiment", "--config", path, "--output", tmp_path / "e")
    assert stop.value.code == 2
    name = "broken,data.labels_per_class=5,seed=0"
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"textadv: error: 1 of 2 runs have failed: {name}: lm.ckpt: ")
    assert [row["setting"] for row in results(tmp_path / "e")] == ["none"]
    assert f"- `{name}`: lm.ckpt" in (tmp_path / "e" / "table.md").read_text(encoding="utf-8")


def test_sigterm_stops_the_run_with_its_checkpoint(
    run: Run, grid: Grid, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = grid(settings={"both": {}}, baseline=None)
    run("experiment", "--config", path, "--output", tmp_path / "whole")
    step = FinetuningModule.training_step

    def stopped(self: FinetuningModule, *arguments: Any) -> Any:
        if self.trainer.global_step == 2 and self.seed == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    command = ["experiment", "--config", path, "--output", tmp_path / "e"]
    capsys.readouterr()
    monkeypatch.setattr(FinetuningModule, "training_step", stopped)
    with pytest.raises(SystemExit) as stop:
        run(*command)
    monkeypatch.setattr(FinetuningModule, "training_step", step)
    assert stop.value.code == 143
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("textadv: stopped by SIGTERM after step 3, saved in ")
    assert last.endswith(f"`textadv experiment --config {path} --output {tmp_path / 'e'} --resume` goes on")
    assert "was broken off: --resume goes on with it" in refused(run, capsys, *command)
    run(*command, "--resume")
    assert figures(tmp_path / "e") == figures(tmp_path / "whole")
    assert [row["seconds"] is None for row in results(tmp_path / "e")] == [False, True]


KILLED = """
import os, signal, sys
from textadv.cli import main
from textadv.training.finetuning import FinetuningModule
step = FinetuningModule.training_step
def killed(self, *arguments):
    if self.trainer.global_step == 3 and self.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)
FinetuningModule.training_step = killed
main()
"""
REPEATED = """
import sys
from textadv.cli import main
arguments = list(sys.argv)
main()
sys.argv = [*arguments[:-1], "whole"]
main()
"""


def test_kill_9_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """What goes on has the figures of what nothing has happened to; in real processes on the built-in corpus."""
    grid = {
        "base": SMALL | {"data": {"source": "builtin", "cache": "cache"}},
        "settings": {"both": {}},
        "labels": [{"data.labels_per_class": 5}],
        "seeds": [{"seed": 0, "data.seed": 0}, {"seed": 1, "data.seed": 1}],
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))

    def process(program: str, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, "experiment", "--config", "grid.yaml", *flags]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    killed = process(KILLED, "--output", "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [row["seeds"]["seed"] for row in results(tmp_path / "killed")] == [0]
    assert (tmp_path / "killed" / "runs" / "both,data.labels_per_class=5,data.seed=1,seed=1" / "last.ckpt").is_file()
    done = process(REPEATED, "--resume", "--output", "killed")
    assert done.returncode == 0, done.stderr
    assert "run 1 of 1" in done.stderr
    assert figures(tmp_path / "killed") == figures(tmp_path / "whole")
    assert len(figures(tmp_path / "whole")) == 2
