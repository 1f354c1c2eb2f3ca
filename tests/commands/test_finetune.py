"""The folder of the classifier that `finetune` writes beside its checkpoints."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import Run, metrics, refused


def test_commands_read_the_folder_that_finetune_writes(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f")
    shutil.copytree(tmp_path / "f", tmp_path / "m", ignore=shutil.ignore_patterns("*.ckpt*"))
    figures = json.loads((tmp_path / "m" / "config.json").read_text())["figures"]
    assert figures.items() <= metrics(tmp_path / "f").items()
    assert "| happy | 17 |" in (tmp_path / "m" / "README.md").read_text()
    capsys.readouterr()
    told = []
    for folder in ("f", "m"):
        run("predict", "--checkpoint", tmp_path / folder, "--text", "a good film")
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    run("evaluate", "--checkpoint", tmp_path / "m", "--output", tmp_path / "e")
    assert metrics(tmp_path / "e")["count"] == 10
    assert metrics(tmp_path / "e")["classes"] == ["happy", "sad"]  # of the rows and columns of the confusion matrix
    few = ["--attack.documents", "4", "--attack.check_documents", "2", "--attack.attacks", '["fgsm-l2"]']
    run("attack", "--checkpoint", tmp_path / "m", "--output", tmp_path / "a", *few)
    assert metrics(tmp_path / "a")["checkpoint"] == str(tmp_path / "m")
    (tmp_path / "m" / "SHA256SUMS").unlink()
    assert "SHA256SUMS" in refused(run, capsys, "predict", "--checkpoint", tmp_path / "m", "--text", "a")


def test_a_broken_off_run_leaves_no_weights_of_an_earlier_one(
    run: Run, corpus: list[str], config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be taken for what this run has come to."""
    flags = ["finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f"]
    run(*flags)
    assert (tmp_path / "f" / "model.safetensors").exists()

    def broken_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("textadv.training.finetuning.FinetuningModule.training_step", broken_off)
    with pytest.raises(SystemExit):
        run(*flags)
    assert not (tmp_path / "f" / "model.safetensors").exists()
    assert not (tmp_path / "f" / "SHA256SUMS").exists()


def test_a_logger_that_is_missing_is_refused_before_anything_is_prepared(
    run: Run, corpus: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textadv.training.loggers.find_spec", lambda name: None)
    for command in ("pretrain", "finetune", "quickstart"):
        line = refused(run, capsys, command, *corpus, "--trainer.logger", "wandb")
        assert line.endswith("--trainer.logger wandb: the package wandb is missing; pip install wandb")
    line = refused(run, capsys, "finetune", *corpus, "--trainer.logger", "textadv.Logger")
    assert "'textadv.Logger' is none of tensorboard, csv, wandb, none" in line
    assert not (tmp_path / "cache").exists()
