"""The whole command line on a tiny corpus, and what it says to bad input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import BAD, GOOD, Run, metrics, refused, sentence, write_rows

from textadv.checkpoints import load_classifier
from textadv.commands.evaluate import evaluate
from textadv.commands.finetune import finetune
from textadv.errors import InputError
from textadv.settings import (
    DataSettings,
    EvaluationSettings,
    Experiment,
    FinetuningSettings,
    ModelSettings,
    TokenizerSettings,
    TrainerSettings,
)
from textadv.training.finetuning import FinetuningModule


def test_whole_pipeline(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("prepare", "--config", config, "--output", tmp_path / "p", *corpus)
    assert metrics(tmp_path / "p")["splits"]["unlabeled"]["documents"] == 30  # type: ignore[index]

    run("finetune", "--config", config, "--output", tmp_path / "f", "--data.labels_per_class", "5", *corpus)
    figures = metrics(tmp_path / "f")
    assert (figures["labels"], figures["validation_labels"], figures["labels_seen"]) == (10, 6, 16)
    encoders = list((tmp_path / "cache" / "pretrained").iterdir())
    assert [str(folder / "last.ckpt") for folder in encoders] == [figures["pretrained"]]

    stamp = (encoders[0] / "last.ckpt").stat().st_mtime_ns
    run("--config", config, "--output", tmp_path / "g", "--finetuning.method", "none", *corpus)  # no command named
    assert metrics(tmp_path / "g")["pretrained"] == figures["pretrained"]
    assert (encoders[0] / "last.ckpt").stat().st_mtime_ns == stamp  # reused, not trained again

    capsys.readouterr()
    run("evaluate", "--checkpoint", tmp_path / "f", "--output", tmp_path / "e")
    result = metrics(tmp_path / "e")
    assert result["count"] == 10
    assert result["error"] == pytest.approx(100 * (1 - result["accuracy"]))  # type: ignore[operator]
    assert {"macro_f1", "expected_calibration_error", "confusion_matrix"} <= result.keys()

    texts = ["a good film", "", "an awful plot\twith zzz"]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    capsys.readouterr()
    run("predict", "--checkpoint", tmp_path / "f", "--input", tmp_path / "texts.txt")
    captured = capsys.readouterr()
    assert "predicting: 3, " in captured.err
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert len(lines) == 3
    for text, line in zip(texts, lines, strict=True):
        assert line["label"] in ("happy", "sad")
        assert sum(line["probabilities"].values()) == pytest.approx(1)
        assert line["truncated"] is False
        if text:
            run("predict", "--checkpoint", tmp_path / "f", "--text", text)
            alone = json.loads(capsys.readouterr().out)
            assert alone["probabilities"] == pytest.approx(line["probabilities"], abs=1e-6)


def test_commands_are_functions(corpus: list[str], tmp_path: Path) -> None:
    files = {flag.removeprefix("--data."): value for flag, value in zip(corpus[::2], corpus[1::2], strict=True)}
    data, trainer = DataSettings(**files), TrainerSettings(accelerator="cpu")  # type: ignore[arg-type]
    model = ModelSettings(embedding_size=6, hidden_size=7, head_size=5)
    finetuning = FinetuningSettings(method="adversarial", steps=2, batch_size=4)
    experiment = Experiment(data, model=model, finetuning=finetuning, trainer=trainer)
    finetune(experiment, pretrained="none", output=str(tmp_path / "f"))
    evaluate(
        str(tmp_path / "f"), DataSettings(), TokenizerSettings(), EvaluationSettings("cpu"), output=str(tmp_path / "e")
    )
    assert metrics(tmp_path / "e")["count"] == 10


def test_resume_goes_on_and_refuses_to_start_afresh(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f"]
    assert "--resume" in refused(run, capsys, *base, "--resume")
    run(*base)
    run(*base, "--finetuning.steps", "6", "--resume")
    assert metrics(tmp_path / "f")["steps"] == 6


def test_a_budget_of_labels_counts_those_that_select(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f"]
    base += ["--data.labels_per_class", 8]
    run(*base, "--data.validation_labels", 4)
    figures = metrics(tmp_path / "f")
    assert (figures["labels"], figures["validation_labels"], figures["labels_seen"]) == (12, 4, 16)
    assert load_classifier(tmp_path / "f").card["labels_seen"] == 16
    assert float(str(figures["validation_error"])) % 25 == 0  # of 4 texts
    assert f"{figures['validation_error']:.2f} % (16 labels seen: 12 train, 4 select)" in capsys.readouterr().out
    for wrong in (1, 15, 17):
        message = refused(run, capsys, *base, "--data.validation_labels", wrong)
        assert f"--data.validation_labels {wrong}: 16 labels are given" in message


def test_uneven_classes_and_a_temperature(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f"]
    base += ["--finetuning.class_weights", "balanced", "--finetuning.selection", "macro_f1"]
    base += ["--finetuning.temperature_scaling", "true"]
    run(*base)
    figures, captured = metrics(tmp_path / "f"), capsys.readouterr()
    assert figures["selection"] == "macro_f1"
    assert "macro-F1 selects the checkpoint, not the error (--finetuning.selection macro_f1)" in captured.err
    assert f"best validation macro-F1 {figures['validation_macro_f1']:.4f}, error " in captured.out
    assert f", temperature {figures['temperature']:.3f} (" in captured.out
    run("evaluate", "--checkpoint", tmp_path / "f", "--output", tmp_path / "e")
    result = metrics(tmp_path / "e")
    assert result["temperature"] == pytest.approx(figures["temperature"])
    assert {"expected_calibration_error", "calibration_error_before"} <= result.keys()
    message = refused(run, capsys, *base, "--data.validation_labels", 0)
    assert "--finetuning.temperature_scaling: needs labels that select, and there are none" in message


def test_without_validation_labels_the_last_checkpoint_is_the_result(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No label is looked at to stop or to choose, whatever patience there is and whatever an earlier run has left."""
    base = ["finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f"]
    run(*base)
    assert (tmp_path / "f" / "best.ckpt").exists()
    run(*base, "--data.validation_labels", 0, "--finetuning.steps", 6, "--finetuning.patience", 1)
    figures = metrics(tmp_path / "f")
    assert (figures["steps"], figures["validation_error"]) == (6, None)
    assert figures["validation_labels"] == 0
    assert figures["labels_seen"] == figures["labels"] == 34
    assert not any(name.startswith("validation") for name in figures["metrics"])  # type: ignore[attr-defined]
    assert figures["checkpoint"] == str(tmp_path / "f" / "last.ckpt")
    assert not (tmp_path / "f" / "best.ckpt").exists()
    assert load_classifier(tmp_path / "f").card["step"] == 6
    assert "step 6 is the result (34 labels seen: 34 train, 0 select)" in capsys.readouterr().out
    run(*base, "--data.validation_labels", 0, "--finetuning.steps", 8, "--resume")
    assert load_classifier(tmp_path / "f").card["step"] == 8
    run("evaluate", "--checkpoint", tmp_path / "f", "--split", "validation", "--output", tmp_path / "e")
    assert metrics(tmp_path / "e")["count"] == 6


def test_a_broken_off_run_without_validation_labels_leaves_no_best_checkpoint_of_an_earlier_one(
    run: Run,
    corpus: list[str],
    config: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be taken for what this run has come to; but a run that is refused leaves everything as it is."""
    base = ["finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f"]
    run(*base)
    assert "other settings" in refused(run, capsys, *base, "--data.validation_labels", 0, "--resume")
    assert (tmp_path / "f" / "best.ckpt").exists()
    step = FinetuningModule.training_step

    def broken_off(self: FinetuningModule, *arguments: Any) -> Any:
        if self.global_step == 3:
            raise InputError("broken off")
        return step(self, *arguments)

    monkeypatch.setattr(FinetuningModule, "training_step", broken_off)
    assert "broken off" in refused(run, capsys, *base, "--data.validation_labels", 0)
    card = load_classifier(tmp_path / "f").card
    assert (card["step"], card["validation_labels"]) == (2, 0)


def test_quickstart_with_a_tiny_budget(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("quickstart", "--config", config, "--data.source", "null", *corpus, "--output", tmp_path / "q")
    rows = metrics(tmp_path / "q")["rows"]
    assert isinstance(rows, list)
    assert [(row["method"], row["pretrained"]) for row in rows] == [
        ("none", False),
        ("none", True),
        ("adversarial+vat", True),
    ]
    assert all({"labels", "labels_seen", "error", "seconds"} <= row.keys() for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 4
    for name, pretrained in (("none", tmp_path / "q" / "pretraining" / "last.ckpt"), ("none-not-pretrained", None)):
        card = load_classifier(tmp_path / "q" / name).card
        assert card["pretrained"] == (None if pretrained is None else str(pretrained))
        assert (card["labels"], card["step"] in (2, 4)) == (rows[0]["labels"], True)
        assert card["versions"]["textadv"]


def test_a_checkpoint_is_evaluated_on_a_named_corpus_with_its_own_tokenizer(
    run: Run, corpus: list[str], config: str, tmp_path: Path
) -> None:
    run("finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f")
    run("evaluate", "--checkpoint", tmp_path / "f", *corpus, "--output", tmp_path / "e")
    assert metrics(tmp_path / "e")["count"] == 10


def test_training_needs_the_prepared_store_only(run: Run, corpus: list[str], config: str, tmp_path: Path) -> None:
    """Neither the files that it was made of nor what reads them."""
    run("prepare", "--config", config, "--output", tmp_path / "p", *corpus)
    store = Path(str(metrics(tmp_path / "p")["store"]))
    expected = tmp_path / "expected"
    run("finetune", "--config", config, *corpus, "--output", expected, "--pretrained", "none")
    for file in tmp_path.glob("*.csv"):
        file.unlink()
    moved = store.rename(tmp_path / "store")
    flags = ["finetune", "--config", config, "--data.source", str(moved), "--output", str(tmp_path / "f")]
    flags += ["--tokenizer.min_documents", "2"]
    flags += ["--pretrained", "none"]
    code = f"import sys; sys.modules.update(pyarrow=None, datasets=None); sys.argv = ['textadv', *{flags!r}]; "
    code += "from textadv.cli import main; main()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
    for figure in ("validation_error", "metrics"):
        assert metrics(tmp_path / "f")[figure] == metrics(expected)[figure]
    run("evaluate", "--checkpoint", tmp_path / "f", "--output", tmp_path / "e")
    assert metrics(tmp_path / "e")["count"] == 10
    assert load_classifier(tmp_path / "f").card["settings"]["tokenizer"]["min_documents"] == 1  # the store's


def test_an_error_leaves_no_bar_open(
    run: Run, corpus: list[str], config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("bad.csv").write_text("review,mood\nfine,happy\nonly one field\n")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(SystemExit):
        run("prepare", "--config", config, *corpus, "--data.train", "bad.csv")
    *_, bar, message, end = capsys.readouterr().err.split("\n")
    assert "reading bad.csv: " in bar
    assert message.startswith("textadv: error: bad.csv, line 3")
    assert end == ""


def test_bad_input_is_one_line(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(*arguments: object) -> str:
        return refused(run, capsys, *arguments)

    small = ["--config", config, *corpus, "--pretrained", "none"]
    assert "nowhere.csv" in line("finetune", *small, "--data.train", "nowhere.csv")
    assert "opinion" in line("finetune", *small, "--data.label_column", "opinion")
    odd = write_rows(tmp_path / "odd.csv", [("some text", "happy"), ("other text", "angry")])
    assert "angry" in line("finetune", *small, "--data.test", odd)
    assert "empty.csv" in line("finetune", *small, "--data.train", write_rows(tmp_path / "empty.csv", []))
    one = write_rows(tmp_path / "one.csv", [(sentence(i, GOOD), "happy") for i in range(8)])
    assert "one.csv" in line("finetune", *small, "--data.train", one, "--data.test", "null")
    no_raw = [*small, "--data.unlabeled", "null", "--finetuning.method", "vat"]
    assert "unlabeled" in line("finetune", *no_raw)
    assert "--checkpoint" in line("evaluate")
    assert "missing.ckpt" in line("predict", "--checkpoint", "missing.ckpt", "--text", "x")
    assert "--text or --input" in line("predict", "--checkpoint", "missing.ckpt")
    assert "sourze" in line("finetune", "--data.sourze", "x")
    assert "finetuning.steps" in line("finetune", "--finetuning.steps", "many")
    no_encoder = ["--config", config, *corpus, "--data.cache", str(tmp_path / "other")]
    assert "no class 'great'" in line("finetune", *no_encoder, "--finetuning.adversary", "fgsm-l2-great")
    assert "unlabeled" in line("finetune", *no_encoder, "--data.unlabeled", "null", "--finetuning.method", "vat")
    assert not (tmp_path / "other" / "pretrained").exists()  # refused before it pretrains
    assert "trainer.accelerator" in line("finetune", *small, "--trainer.accelerator", "banana")


def test_prepare_does_not_wait_for_torch(tmp_path: Path) -> None:
    """A store that is there is found at once: importing torch would take longer than all else."""
    rows = [(sentence(i, words), label) for i in range(9) for words, label in ((GOOD, "happy"), (BAD, "sad"))]
    data = write_rows(tmp_path / "train.csv", rows)
    flags = ["--data.train", str(data), "--data.text_column", "review", "--data.label_column", "mood"]
    flags += ["--data.cache", str(tmp_path / "cache"), "--output", str(tmp_path / "p")]
    code = f"import sys; sys.argv = ['textadv', 'prepare', *{flags!r}]; from textadv.cli import main; main(); "
    result = subprocess.run(
        [sys.executable, "-c", code + "print(sorted({'torch', 'pytorch_lightning'} & sys.modules.keys()))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "[]"
    assert json.loads((tmp_path / "p" / "metrics.json").read_text())["versions"]["torch"]


def test_damaged_and_foreign_checkpoints_are_one_line(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f")
    whole = (tmp_path / "f" / "best.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    assert "cut.ckpt" in refused(run, capsys, "evaluate", "--checkpoint", tmp_path / "cut.ckpt")
    other = ["--config", config, *corpus, "--tokenizer.lowercase", "true", "--tokenizer.max_vocabulary", "20"]
    assert "different tokenizers" in refused(run, capsys, "evaluate", "--checkpoint", tmp_path / "f", *other)
