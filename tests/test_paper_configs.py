"""The paper-size configs: build, take real steps, resume. Minutes each on a CPU, gigabytes of memory."""

import csv
import sys
from pathlib import Path

import pytest

from textadv.cli import main

CONFIGS = sorted((Path(__file__).parent.parent / "configs" / "imdb").glob("[!s]*.yaml"))


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_three_steps_and_resume(
    config: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textadv.training.runs.LOG_EVERY", 1)
    cache = str(tmp_path_factory.getbasetemp() / "cache")  # one store serves all
    base = ["--config", str(config), "--data.source", "builtin", "--data.cache", cache]
    base += ["--trainer.accelerator", "cpu"]

    def run(command: str, steps: int, *arguments: str) -> None:
        flags = ["--pretraining.steps", str(steps), "--finetuning.steps", str(steps)]
        flags += ["--pretraining.validate_every", "1", "--finetuning.validate_every", "1"]
        monkeypatch.setattr(sys, "argv", ["textadv", command, *base, *flags, *arguments])
        main()

    lm, ft = str(tmp_path / "lm"), str(tmp_path / "ft")
    run("pretrain", 2, "--output", lm)
    run("pretrain", 3, "--output", lm, "--resume")
    assert len(losses(tmp_path / "lm")) == 1  # the step behind the checkpoint
    run("finetune", 2, "--output", ft, "--pretrained", lm)
    run("finetune", 3, "--output", ft, "--pretrained", lm, "--resume")
    assert all(0 < loss < 10 for loss in losses(tmp_path / "ft"))
