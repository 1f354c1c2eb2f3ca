"""Every command computes where `--trainer.accelerator` says, whatever else there is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Run, metrics, refused

from textadv.benchmark import suite
from textadv.settings import TrainerSettings
from textadv.training import runs

ON_CPU = ["--trainer.accelerator", "cpu"]
SHORT = ["--attack.attacks", "[fgsm-l2]", "--attack.documents", "3", "--attack.check_documents", "2"]


@pytest.fixture
def trained(run: Run, corpus: list[str], config: str, tmp_path: Path) -> Path:
    run("finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f")
    return tmp_path / "f"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a CUDA device, on which nothing can be computed here."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)


@pytest.mark.parametrize(
    "command",
    [["evaluate"], ["predict", "--text", "a good film"], ["attack", *SHORT], ["report", *SHORT]],
    ids=lambda command: command[0],
)
def test_the_cpu_is_used_beside_cuda(run: Run, trained: Path, tmp_path: Path, cuda: None, command: list[str]) -> None:
    run(*command, "--checkpoint", trained, "--output", tmp_path / "o", *ON_CPU)
    with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):  # what `auto` takes
        run(*command, "--checkpoint", trained, "--output", tmp_path / "o")


def test_the_quickstart_evaluates_where_it_trains(
    run: Run, corpus: list[str], config: str, tmp_path: Path, cuda: None
) -> None:
    run("quickstart", "--config", config, "--data.source", "null", *corpus, "--output", tmp_path / "q", *ON_CPU)
    assert len(metrics(tmp_path / "q")["rows"]) == 3  # type: ignore[arg-type]


def test_the_benchmark_sets_both_on_the_same_device(
    run: Run, corpus: list[str], config: str, tmp_path: Path, cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []

    def benchmark(experiment: Any, store: Any, device: str, quick: bool) -> dict[str, Any]:
        devices.append(device)
        return {}

    monkeypatch.setattr(suite, "benchmark", benchmark)
    monkeypatch.setattr(suite, "table", lambda result: "")
    run("benchmark", "--config", config, *corpus, "--output", tmp_path / "b", *ON_CPU)
    assert devices == ["cpu"]


def test_auto_is_the_same_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's own would take Apple's MPS."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("platform.processor", lambda: "arm")
    trainer = runs.build_trainer(TrainerSettings(accelerator="auto"), [], logger=False, enable_checkpointing=False)
    assert trainer.strategy.root_device.type == "cpu"


@pytest.mark.parametrize("command", ["pretrain", "finetune", "quickstart", "evaluate", "predict", "benchmark"])
def test_a_device_that_is_not_there_is_refused_before_any_work(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    flags = ["--checkpoint", "f"] if command in ("evaluate", "predict") else []
    line = refused(run, capsys, command, *flags, "--trainer.accelerator", "gpu", "--output", tmp_path / "o")
    assert "--trainer.accelerator gpu: torch finds no cuda device" in line
    assert not (tmp_path / "o").exists()
