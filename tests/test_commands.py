"""The whole command line on a tiny corpus, and what it says to bad input."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from textadv.checkpoints import load_classifier
from textadv.cli import main
from textadv.settings import AttackSettings

Run = Callable[..., None]
GOOD = ["good", "fine", "great", "lovely"]
BAD = ["bad", "poor", "awful", "dull"]
NOUNS = ["film", "plot", "cast", "score", "scene"]

SMALL = {
    "tokenizer": {"min_documents": 1},
    "model": {"embedding_size": 6, "hidden_size": 7, "pooling": "last_mean_max", "head_size": 5},
    "pretraining": {"steps": 4, "batch_size": 4, "window": 6, "candidates": 10, "validate_every": 2},
    "finetuning": {"steps": 4, "batch_size": 4, "unlabeled_batch_size": 4, "epsilon": 0.5, "validate_every": 2},
    "trainer": {"accelerator": "cpu"},
}


def sentence(i: int, words: list[str]) -> str:
    return f"the {NOUNS[i % 5]} was {words[i % 4]} and the {NOUNS[(i // 5) % 5]} {words[(i // 4) % 4]} number{i}"


def write_rows(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("review", "mood"), *rows])
    return str(path)


@pytest.fixture
def corpus(tmp_path: Path) -> list[str]:
    """Flags of a corpus in CSV files with column names of their own."""
    both = [(sentence(i, words), name) for i in range(20) for words, name in ((GOOD, "happy"), (BAD, "sad"))]
    test = [(sentence(100 + i, words), name) for i in range(5) for words, name in ((GOOD, "happy"), (BAD, "sad"))]
    raw = [(sentence(200 + i, GOOD if i % 2 else BAD), "") for i in range(30)]
    flags = ["--data.text_column", "review", "--data.label_column", "mood", "--data.cache", str(tmp_path / "cache")]
    for name, rows in (("train", both), ("unlabeled", raw), ("test", test)):
        flags += [f"--data.{name}", write_rows(tmp_path / f"{name}.csv", rows)]
    return flags


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return str(path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("textadv.machine.prepare_machine", lambda: None)

    def command(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["textadv", *map(str, arguments)])
        main()

    return command


def refused(run: Run, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which a command is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "error" in line]
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    return lines[0]


def metrics(folder: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((folder / "metrics.json").read_text())
    return loaded


def test_whole_pipeline(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("prepare", "--config", config, "--output", tmp_path / "p", *corpus)
    assert metrics(tmp_path / "p")["splits"]["unlabeled"]["documents"] == 30  # type: ignore[index]

    run("finetune", "--config", config, "--output", tmp_path / "f", "--data.labels_per_class", "5", *corpus)
    figures = metrics(tmp_path / "f")
    assert figures["labels"] == 10
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


def test_resume_goes_on_and_refuses_to_start_afresh(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f"]
    assert "--resume" in refused(run, capsys, *base, "--resume")
    run(*base)
    run(*base, "--finetuning.steps", "6", "--resume")
    assert metrics(tmp_path / "f")["steps"] == 6


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
    assert all({"labels", "error", "seconds"} <= row.keys() for row in rows)
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
    assert "no class 'great'" in line("finetune", *no_encoder, "--finetuning.target", "great")
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


def test_attack(run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("f", "g"):
        run(
            "finetune",
            "--config",
            config,
            "--pretrained",
            "none",
            "--output",
            tmp_path / name,
            "--seed",
            len(name),
            *corpus,
        )
    capsys.readouterr()
    flags = ["--checkpoint", tmp_path / "f", "--output", tmp_path / "a", "--attack.l2_epsilons", "[0.5, 50]"]
    flags += [
        "--attack.attacks",
        "[noise-l2, fgsm-l2, pgd-linf-least_likely, interpretable-l2-sad]",
        "--attack.documents",
        "7",
    ]
    run("attack", *flags, "--source-checkpoint", tmp_path / "g")
    result = metrics(tmp_path / "a")
    assert result["documents"] == 7
    for rows in (result["attacks"], result["transfer"]):
        assert [row["attack"] for row in rows] == [
            "noise-l2",
            "fgsm-l2",
            "pgd-linf-least_likely",
            "interpretable-l2-sad",
        ]  # type: ignore[attr-defined]
        sizes = [2, 2, len(AttackSettings().linf_epsilons), 2]
        assert [len(row["accuracy"]) for row in rows] == sizes  # type: ignore[attr-defined]
        assert all(0 <= accuracy <= 1 for row in rows for accuracy in row["accuracy"])  # type: ignore[attr-defined]
    assert len(result["words"]["accuracy"]) == 3  # type: ignore[index]
    for example in result["words"]["examples"]:  # type: ignore[index]
        assert len(example["before"]) == len(example["after"])
        assert example["label"] in ("happy", "sad")
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "Accuracy of f, transferred attacks" in page
    assert sorted(file.name for file in (tmp_path / "a" / "figures").glob("accuracy*.json")) == [
        "accuracy_l2.json",
        "accuracy_linf.json",
    ]
    printed = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in printed].count("pass") + [line[:4] for line in printed].count("warn") == 7

    run(
        "attack",
        "--checkpoint",
        tmp_path / "f",
        "--output",
        tmp_path / "b",
        "--attack.documents",
        "7",
        "--split",
        "validation",
    )
    assert metrics(tmp_path / "b")["transfer"] == []


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


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("attacks", "[magic-l2]"),
        ("l2_epsilons", "[2, 1]"),
        ("linf_epsilons", "[0]"),
        ("word_budgets", "[0.1, 1.5]"),
        ("word_budgets", "[]"),
        ("documents", "0"),
        ("num_steps", "-1"),
        ("l2_epsilons", "[-1, 2]"),
        ("l2_epsilons", "[1, .inf]"),
        ("linf_epsilons", "[.nan]"),
        ("minimum_similarity", ".nan"),
        ("seed", "-1"),
        ("attacks", "[fgsm-l2-angry]"),
    ],
)
def test_attack_refuses(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    short = ["--finetuning.steps", "1", "--finetuning.method", "none"]
    run("finetune", "--config", config, "--pretrained", "none", "--output", tmp_path / "f", *short, *corpus)
    line = refused(run, capsys, "attack", "--checkpoint", tmp_path / "f", f"--attack.{flag}", value)
    assert f"--attack.{flag}" in line
