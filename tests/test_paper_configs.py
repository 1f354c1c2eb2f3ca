"""The paper-size configs: build, take real steps, resume. Minutes on a CPU, gigabytes of memory."""

import sys
from pathlib import Path

import pytest
import yaml
from readers import curves

from textadv.cli import main

CONFIGS = sorted((Path(__file__).parent.parent / "configs" / "imdb").glob("[!s]*.yaml"))


def losses(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in curves(folder) if row["loss"]]


def run(monkeypatch: pytest.MonkeyPatch, base: Path, config: Path, command: str, steps: int, *arguments: str) -> None:
    """A command of so many steps on the built-in corpus."""
    flags = ["--config", str(config), "--data.source", "builtin", "--data.cache", str(base / "cache")]
    flags += ["--trainer.accelerator", "cpu"]
    for stage in ("pretraining", "finetuning")[: 1 + (command == "finetune")]:
        flags += [f"--{stage}.steps", str(steps), f"--{stage}.validate_every", "1"]
    monkeypatch.setattr("textadv.training.runs.LOG_EVERY", 1)
    monkeypatch.setattr(sys, "argv", ["textadv", command, *flags, *arguments])
    main()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store and one language model serve all configs that agree on them."""
    return tmp_path_factory.mktemp("paper")


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_three_steps_and_resume(config: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = yaml.safe_load(config.read_text())
    assert settings["model"]["hidden_size"] * (1 + settings["model"]["bidirectional"]) == 1024
    parts = [settings["tokenizer"], settings["model"], settings["pretraining"]]
    lm = base / f"lm-{abs(hash(yaml.safe_dump(parts)))}"
    if not lm.exists():
        run(monkeypatch, base, config, "pretrain", 2, "--output", str(lm))
        before = losses(lm)
        run(monkeypatch, base, config, "pretrain", 3, "--output", str(lm), "--resume")
        steps = before + losses(lm)[-1:]
        assert len(steps) == 3
        assert all(0 < loss < 12 for loss in steps)
    out = ["--output", str(tmp_path), "--pretrained", str(lm)]
    run(monkeypatch, base, config, "finetune", 2, *out)
    before = losses(tmp_path)
    run(monkeypatch, base, config, "finetune", 3, *out, "--resume")
    steps = before + losses(tmp_path)[-1:]
    assert len(steps) == 3
    assert all(0 < loss < 10 for loss in steps)
