"""`export`, and `predict --onnx`, on the command line."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import Run, metrics, refused

from textadv.export import graph
from textadv.export.folder import MODEL

pytest.importorskip("onnxruntime", reason="the extra textadv[export] is not installed")
pytest.importorskip("onnxscript", reason="the extra textadv[export] is not installed")

ROOT = Path(__file__).parents[2]
TEXTS = "the film was good\n\nthe plot was dull and the cast awful\n"
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from textadv.cli import main; main()"


@pytest.fixture
def trained(run: Run, corpus: list[str], config: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A classifier in `run`, and the flags of its corpus."""
    monkeypatch.setattr(graph, "LONGEST", 1000)
    run("finetune", "--config", config, *corpus, "--pretrained", "none", "--output", "run")
    return corpus


def test_from_a_checkpoint_to_predictions_without_torch(
    run: Run, trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", "--checkpoint", "run", "--output", "exported")
    found = metrics(tmp_path / "exported")
    assert found["parity"]["largest_difference"] <= 1e-5  # type: ignore[index]
    assert (found["command"], found["int8"]) == ("export", False)
    assert "ONNX and torch: logits of up to" in capsys.readouterr().out
    (tmp_path / "texts.txt").write_text(TEXTS)
    run("predict", "--checkpoint", "run", "--input", "texts.txt")
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    command = [sys.executable, "-c", WITHOUT_TORCH, "predict", "--onnx", "exported", "--input", "texts.txt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3
    for line, other in zip(lines, expected, strict=True):
        assert (line["label"], line["truncated"]) == (other["label"], other["truncated"])
        assert line["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)


def test_int8_is_measured_on_the_validation_split(
    run: Run, trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", "--checkpoint", "run", "--int8", "--output", "exported")
    found = metrics(tmp_path / "exported")
    measured = found["validation"]
    assert set(measured) == {"documents", "float32_error", "int8_error", "disagreements"}
    assert f"{measured['int8_error']:.2f} % error on the {measured['documents']} texts" in capsys.readouterr().out
    assert found["int8_bytes"] == (tmp_path / "exported" / "model.onnx").stat().st_size
    assert b"DynamicQuantizeLSTM" in (tmp_path / "exported" / "model.onnx").read_bytes()
    run("evaluate", "--checkpoint", "run", "--split", "validation", "--output", "evaluated")
    evaluated = metrics(tmp_path / "evaluated")
    assert (measured["documents"], measured["float32_error"]) == (evaluated["count"], evaluated["error"])
    assert "The weights of this model have 8 bits" in (tmp_path / "exported" / "README.md").read_text()
    run("predict", "--onnx", "exported", "--text", "a good film")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["label"] in ("happy", "sad")


def test_what_is_wrong_is_one_line(
    run: Run, trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = ("--text", "a film")
    cases = {
        ("export", "--checkpoint", "gone"): "gone: no such checkpoint",
        ("export", "--checkpoint", "run", "--output", "run"): "--output run: holds best.ckpt",
        ("predict", "--onnx", "run", *text): "--onnx run: is no folder with model.onnx; `textadv export` writes one",
        ("predict", "--onnx", "gone", *text): "--onnx gone: is no folder with model.onnx",
        ("predict", "--onnx", "run", "--checkpoint", "run", *text): "needs either --checkpoint or --onnx",
        ("predict", *text): "needs either --checkpoint or --onnx",
        ("predict", "--onnx", "run", "--trainer.accelerator", "gpu", *text): "--onnx computes on the CPU",
    }
    for arguments, message in cases.items():
        assert message in refused(run, capsys, *arguments)
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / MODEL).touch()
    line = refused(run, capsys, "predict", "--checkpoint", "exported", *text)
    assert "exported: no checkpoint" in line
    assert line.endswith("it is an export, which only `predict --onnx` takes")
    monkeypatch.setattr(graph, "LARGEST_DIFFERENCE", -1.0)
    line = refused(run, capsys, "export", "--checkpoint", "run", "--output", "differs")
    assert "--checkpoint run: a logit of its ONNX graph differs from torch's by" in line
    assert sorted(file.name for file in (tmp_path / "differs").iterdir()) == ["config.yaml"]
    for package in ("onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
        line = refused(run, capsys, "export", "--checkpoint", "run")
        assert f"export: the package {package} is missing" in line
        assert 'pip install -e ".[export]"' in line


def test_predict_names_the_extra_that_is_missing(
    run: Run, trained: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("export", "--checkpoint", "run", "--output", "exported")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    line = refused(run, capsys, "predict", "--onnx", "exported", "--text", "a film")
    assert "--onnx: the package onnxruntime is missing" in line
    assert 'pip install -e ".[export]"' in line


def test_the_speed_of_torch_and_onnx_side_by_side(
    trained: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main = runpy.run_path(str(ROOT / "docs" / "export_speed.py"))["main"]
    before = torch.get_num_threads()
    capsys.readouterr()
    try:
        main(["--checkpoint", "run", "--documents", "4", "--threads", "1", "--turns", "2"])
    finally:
        torch.set_num_threads(before)
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("4 texts, ")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in told[-3:]]
    assert [row[0] for row in rows] == ["torch", "ONNX", "ONNX int8"]
    assert all(float(row[1].replace(",", "")) >= float(row[2].replace(",", "")) > 0 for row in rows)
    with pytest.raises(SystemExit, match="2"):
        main(["--checkpoint", "gone"])
