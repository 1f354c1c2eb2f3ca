import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, metrics, refused


def test_report(run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--config", config, "--pretrained", "none", *corpus]
    run("finetune", *small, "--output", tmp_path / "f", "--finetuning.method", "none")
    run("finetune", *small, "--output", tmp_path / "g", "--finetuning.epsilon", "0.25")
    flags = ["--checkpoint", tmp_path / "f", "--compare", tmp_path / "g", tmp_path / "g" / "last.ckpt"]
    flags += ["--attack.attacks", "[noise-l2, fgsm-l2]", "--attack.documents", "7", "--attack.check_documents", "3"]
    capsys.readouterr()
    run("report", *flags, "--output", tmp_path / "r")
    assert capsys.readouterr().out == f"report: {tmp_path / 'r' / 'report.html'}\n"
    result = metrics(tmp_path / "r")
    measured: list[dict[str, Any]] = result["checkpoints"]  # type: ignore[assignment]
    assert [one["name"] for one in measured] == ["f", "g", "g/last"]
    assert [[s["epsilon"] for s in one["smoothness"]] for one in measured] == [[0.5], [0.25, 0.5], [0.25, 0.5]]
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    for one in measured:
        assert one["robustness"]["documents"] == 7
        assert one["directions"]["documents"] == 3
        assert f"{one['quality']['error']:.2f} %" in page
        assert all(f"{100 * a:.1f} %" in page for row in one["robustness"]["attacks"] for a in row["accuracy"])
    curves = json.loads((tmp_path / "r" / "figures" / "accuracy_l2.json").read_text())["series"]
    assert [line["y"][1:] for line in curves] == [
        row["accuracy"] for one in measured for row in one["robustness"]["attacks"]
    ]
    assert {file.stem for file in (tmp_path / "r" / "figures").glob("*.png")} >= {
        *("reliability", "confusion_3", "loss_directions", "margin_directions", "smoothness", "smoothness_same"),
        "validation_error",
    }

    run("evaluate", "--checkpoint", tmp_path / "f", "--output", tmp_path / "e")
    assert metrics(tmp_path / "e")["error"] == measured[0]["quality"]["error"]
    page = (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
    assert "Confusion matrix of f" in page
    assert "Robustness" not in page


def test_report_refuses_before_it_measures(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--config", config, "--pretrained", "none", "--finetuning.steps", "1", *corpus]
    run("finetune", *short, "--output", tmp_path / "f")
    run("finetune", *short, "--output", tmp_path / "g", "--tokenizer.max_vocabulary", "20")
    base = ["report", "--checkpoint", tmp_path / "f"]
    assert "--checkpoint is needed" in refused(run, capsys, "report")
    assert "missing" in refused(run, capsys, *base, "--compare", "missing")
    line = refused(run, capsys, *base, "--compare", tmp_path / "f", tmp_path / "g")
    assert f"--compare {tmp_path / 'g'}" in line
    assert "different tokenizers" in line
    assert "magic-l2" in refused(run, capsys, *base, "--attack.attacks", "[magic-l2]")
    assert "--split dev" in refused(run, capsys, *base, "--split", "dev")
