"""What `--resume` says and does on the command line."""

import csv
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from readers import curves

from textadv.checkpoints import CARD, LAST, PREVIOUS, load_file
from textadv.cli import main
from textadv.training.base import TrainingModule

Run = Callable[..., int]
SMALL = {
    "tokenizer": {"min_documents": 1},
    "model": {"embedding_size": 6, "hidden_size": 7, "head_size": 5},
    "pretraining": {"steps": 8, "batch_size": 4, "window": 6, "candidates": 10, "validate_every": 5},
    "finetuning": {"steps": 5, "method": "adversarial", "batch_size": 4, "epsilon": 0.5, "validate_every": 2},
    "trainer": {"accelerator": "cpu"},
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in a folder with a small corpus; returns its exit code."""
    rows = [(f"the film number{i} was {word}", label) for i in range(20) for word, label in (("good", 1), ("bad", 0))]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SMALL))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textadv.system.machine.prepare_machine", lambda: None)

    def command(name: str, *arguments: object) -> int:
        given = ["--config", "config.yaml", "--data.train", "train.csv", "--data.cache", "cache"]
        monkeypatch.setattr(sys, "argv", ["textadv", name, *given, *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return command


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Our lines, without those of progress."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("textadv: ")]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Send the process a SIGTERM in the given step."""
    original = TrainingModule.on_before_backward

    def wrapped(module: TrainingModule, loss: Any) -> None:
        if module.global_step + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        original(module, loss)

    patch.setattr(TrainingModule, "on_before_backward", wrapped)


def test_resume_says_what_it_needs(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    finetune = ["finetune", "--pretrained", "none"]
    assert run(*finetune, "--resume") == 2
    assert told(capsys) == ["textadv: error: --resume: --output must name the folder of the run to go on with"]
    assert run(*finetune, "--output", "f", "--resume") == 2
    assert told(capsys) == ["textadv: error: --resume: no checkpoint in f"]
    assert run(*finetune, "--output", "f") == 0
    assert run(*finetune, "--output", "f", "--resume", "--model.hidden_size", 9) == 2
    assert told(capsys) == [
        "textadv: error: --resume: the checkpoint is of a run with other settings: model.hidden_size"
    ]


@pytest.mark.parametrize(("command", "section"), [("pretrain", "pretraining"), ("finetune", "finetuning")])
def test_what_a_refused_resume_leaves_alone(run: Run, command: str, section: str) -> None:
    """The record of a finished run; and no folder where there is no run."""
    assert run(command, "--output", "f") == 0
    before = {path: path.read_bytes() for path in Path("f").iterdir() if path.is_file()}
    assert run(command, "--output", "f", "--resume", f"--{section}.dropout", 0.25) == 2
    assert {path: path.read_bytes() for path in Path("f").iterdir() if path.is_file()} == before
    assert run(command, "--output", "g", "--resume") == 2
    assert not Path("g").exists()


def test_a_fresh_run_leaves_nothing_of_the_one_before(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends before its first validation, and the other's classifier is not taken for its own."""
    finetune = ["finetune", "--pretrained", "none", "--output", "f"]
    assert run(*finetune) == 0
    assert Path("f/best.ckpt").exists()
    stop_at(monkeypatch, 1)
    assert run(*finetune, "--finetuning.epsilon", 0.25) == 143
    left = {path.name for path in Path("f").iterdir()}
    assert not left & {"best.ckpt", "metrics.json", "model.safetensors"}


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_a_complete_run_that_is_resumed_keeps_its_figures(run: Run, command: str) -> None:
    """The speed above all: no step is trained whose speed could be told. Further steps have a speed of their own."""
    flags = [command, "--output", "f", *(["--pretrained", "none"] if command == "finetune" else [])]
    assert run(*flags) == 0
    figures = (Path("f") / "metrics.json").read_text()
    assert run(*flags, "--resume") == 0
    assert (Path("f") / "metrics.json").read_text() == figures
    section = "pretraining" if command == "pretrain" else "finetuning"
    assert run(*flags, "--resume", f"--{section}.steps", 12) == 0
    before, after = json.loads(figures), json.loads((Path("f") / "metrics.json").read_text())
    assert after["steps"] == 12
    assert all(0 < after[name] != before[name] for name in ("seconds", "tokens_per_second"))


def test_a_complete_run_that_has_lost_its_best_checkpoint(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    finetune = ["finetune", "--pretrained", "none", "--output", "f"]
    assert run(*finetune) == 0
    figures = (Path("f") / "metrics.json").read_text()
    (Path("f") / "best.ckpt").unlink()
    capsys.readouterr()
    assert run(*finetune, "--resume") == 2
    lost, refused = told(capsys)
    assert "f/best.ckpt is damaged or gone" in lost
    assert refused == "textadv: error: --resume: the best checkpoint in f is damaged or gone, and no steps are left"
    assert (Path("f") / "metrics.json").read_text() == figures


def test_damaged_checkpoints_are_passed_over(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    finetune = ["finetune", "--pretrained", "none", "--output", "f"]
    assert run(*finetune) == 0
    capsys.readouterr()
    before = load_file(Path("f") / LAST)
    flip(Path("f") / LAST)
    assert run(*finetune, "--resume") == 0
    assert told(capsys) == [
        "textadv: f/last.ckpt: damaged: its sha256 is not that in last.ckpt.sha256; going on from f/previous.ckpt"
    ]
    after = load_file(Path("f") / LAST)
    assert all((before["state_dict"][name] == value).all() for name, value in after["state_dict"].items())
    flip(Path("f") / LAST)
    (Path("f") / (PREVIOUS + ".sha256")).unlink()
    assert run(*finetune, "--resume") == 2
    (line,) = told(capsys)
    assert line.startswith("textadv: error: --resume: no intact checkpoint in f (f/last.ckpt: damaged")
    assert "f/previous.ckpt: damaged, or moved without its sum" in line


@pytest.mark.parametrize(("command", "section"), [("pretrain", "pretraining"), ("finetune", "finetuning")])
def test_the_last_step_is_measured_and_saved(run: Run, command: str, section: str) -> None:
    """The steps after the last multiple of `validate_every` are not lost."""
    flags = [f"--{section}.steps", 8, f"--{section}.validate_every", 5, "--output", "f"]
    assert run(command, *flags, *(["--pretrained", "none"] if command == "finetune" else [])) == 0
    name = "validation_perplexity" if command == "pretrain" else "validation_error"
    rows = [row for row in curves(Path("f")) if row[name]]
    assert [row["step"] for row in rows] == ["4", "7"]  # counted from 0
    metrics = json.loads(Path("f/metrics.json").read_text())
    assert metrics["steps"] == load_file(Path("f") / LAST)["global_step"] == 8
    assert metrics["metrics"][name] == pytest.approx(float(rows[-1][name]))


@pytest.mark.parametrize("flags", [[], ["--pretrained", "none"]])
def test_a_run_that_goes_on_needs_no_encoder_and_keeps_its_origin(run: Run, flags: list[str]) -> None:
    assert run("finetune", "--output", "f") == 0
    (folder,) = Path("cache/pretrained").iterdir()
    shutil.rmtree(folder)
    assert run("finetune", "--output", "f", "--resume", *flags) == 0
    assert not folder.exists()
    assert json.loads(Path("f/metrics.json").read_text())["pretrained"] == str(folder / LAST)
    assert load_file(Path("f") / LAST)[CARD]["pretrained"] == str(folder / LAST)


def test_pretraining_that_was_stopped_is_taken_up(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As part of fine-tuning, and by the command that the message names; a damaged encoder is trained again."""
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        assert run("finetune", "--output", "f") == 143
    (folder,) = Path("cache/pretrained").iterdir()
    assert told(capsys) == [
        f"textadv: stopped by SIGTERM after step 7, saved in {folder}/last.ckpt; "
        f"`textadv pretrain --resume --output {folder}` with the same settings goes on from there"
    ]
    assert run("pretrain", "--resume", "--output", folder) == 0
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 8
    assert run("finetune", "--output", "f") == 0
    trained = load_file(folder / LAST)["state_dict"]
    flip(folder / LAST)
    capsys.readouterr()
    assert run("finetune", "--output", "g") == 0
    assert told(capsys)[0].endswith(f"going on from {folder}/previous.ckpt")
    again = load_file(folder / LAST)["state_dict"]
    assert all((trained[name] == value).all() for name, value in again.items())
