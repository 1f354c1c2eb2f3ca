"""Own files without a config: a preset gives the sizes, the files are looked over, the time is said."""

import re
from pathlib import Path

import pytest
import yaml
from command_line import Run, metrics, refused, write_rows

from textadv.commands import check_data, sizing
from textadv.settings import Experiment

FEW = ["--tokenizer.min_documents", "1", "--model.hidden_size", "9", "--pretraining.steps", "2"]
FEW += ["--finetuning.steps", "2", "--finetuning.batch_size", "8", "--trainer.accelerator", "cpu"]


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("textadv: ")]


def test_one_command_is_all_it_takes(
    run: Run, corpus: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("finetune", *corpus, *FEW, "--output", tmp_path / "f")
    preset, pretraining, finetuning = told(capsys)
    assert re.fullmatch(
        r"textadv: preset small, for less than 3,000,000 tokens: \d+ tokens of text, 34 labels that train, device cpu",
        preset,
    )
    time = r"about \d+ s on this machine"
    assert re.fullmatch(rf"textadv: pretraining: 2 steps, [\d.]+ passes over the text, {time}", pretraining)
    assert re.fullmatch(rf"textadv: fine-tuning: 2 steps, 0.471 passes over the labels, {time}", finetuning)
    config = yaml.safe_load((tmp_path / "f" / "config.yaml").read_text())
    assert (config["model"]["embedding_size"], config["model"]["hidden_size"]) == (64, 9)
    assert (config["tokenizer"]["lowercase"], config["tokenizer"]["min_documents"]) == (True, 1)
    assert (config["finetuning"]["learning_rate"], config["finetuning"]["batch_size"]) == (0.002, 8)
    assert (config["model"]["head_size"], config["finetuning"]["head_start"]) == (0, "probe")
    assert set(metrics(tmp_path / "f")["estimated_seconds"]) == {"pretraining", "fine-tuning"}  # type: ignore[call-overload]

    run("finetune", *corpus, *FEW, "--output", tmp_path / "f", "--resume")
    assert [line.partition(",")[0] for line in told(capsys)] == ["textadv: preset small"]
    assert metrics(tmp_path / "f")["steps"] == 2
    assert set(metrics(tmp_path / "f")["estimated_seconds"]) == {"pretraining", "fine-tuning"}  # type: ignore[call-overload]

    run("finetune", *corpus, *FEW, "--preset", "base", "--pretrained", "none", "--output", tmp_path / "g")
    preset, finetuning = told(capsys)
    assert preset.startswith("textadv: preset base, as given: ")
    assert finetuning.startswith("textadv: fine-tuning: ")
    config = yaml.safe_load((tmp_path / "g" / "config.yaml").read_text())
    assert (config["model"]["embedding_size"], config["model"]["hidden_size"]) == (256, 9)

    run("finetune", *corpus, *FEW, "--pretrained", "none", "--output", tmp_path / "h")  # whose features no probe reads
    config = yaml.safe_load((tmp_path / "h" / "config.yaml").read_text())
    assert (config["model"]["head_size"], config["finetuning"]["head_start"]) == (30, "random")
    run("finetune", *corpus, *FEW, "--output", tmp_path / "h", "--resume")  # does not read what it started from
    assert metrics(tmp_path / "h")["pretrained"] is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119, "119 s"), (150, "2.5 min"), (6600, "110 min"), (9000, "2.5 h"), (455_000, "130 h")],
)
def test_a_time_is_said_in_the_unit_that_suits_it(
    seconds: float, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages, times = {"fine-tuning": "2 steps"}, {"fine-tuning": seconds}
    monkeypatch.setattr(sizing, "_stages", lambda *_: stages)
    monkeypatch.setattr(sizing, "_measured", lambda *_: times)
    sizing.tell_durations(Experiment(), None, False)  # type: ignore[arg-type]
    assert told(capsys) == [f"textadv: fine-tuning: 2 steps, about {words} on this machine"]


def test_prepare_and_pretrain_make_what_finetune_looks_for(
    run: Run, corpus: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [*corpus, "--tokenizer.min_documents", "1"]
    run("prepare", *data, "--output", tmp_path / "p")
    run("pretrain", *data, *FEW[2:6], "--trainer.accelerator", "cpu")
    (encoder,) = (tmp_path / "cache" / "pretrained").iterdir()
    capsys.readouterr()
    run("finetune", *corpus, *FEW, "--output", tmp_path / "f")
    assert not any("pretraining" in line for line in told(capsys))
    assert metrics(tmp_path / "f")["pretrained"] == str(encoder / "last.ckpt")
    assert len(list((tmp_path / "cache" / "stores").iterdir())) == 1


def test_a_pretrained_transformer_needs_no_more(
    run: Run, corpus: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """Its pretraining is timed where it goes on."""
    pytest.importorskip("transformers", reason="the extra textadv[transformers] is not installed")
    folder = request.getfixturevalue("pretrained")
    flags = [*corpus, "--model.encoder", "transformer", "--model.pretrained", folder, *FEW[4:]]
    line = refused(run, capsys, "finetune", *flags)
    assert line.endswith(
        f"--tokenizer.max_tokens 128: {folder} has positions for 40 tokens at most; with --model.windows it reads more"
    )
    flags += ["--tokenizer.max_tokens", "12"]
    assert "takes only --preset transformer" in refused(run, capsys, "finetune", *flags, "--preset", "small")
    run("finetune", *flags, "--pretrained", "continued", "--output", tmp_path / "f")
    said = capsys.readouterr().err
    assert "min_documents" not in said  # which no tokenizer of a Transformer reads
    cut, preset, pretraining, finetuning, head = [row for row in said.splitlines() if row.startswith("textadv: ")]
    assert cut.startswith("textadv: longer than --tokenizer.max_tokens 12: ")
    assert re.match(r"textadv: preset transformer, for a pretrained Transformer: \d+ tokens of text, 34 labels", preset)
    assert re.fullmatch(
        r"textadv: pretraining: 2 steps, 1 passes over the text, about \d+ s on this machine", pretraining
    )
    assert re.fullmatch(
        r"textadv: fine-tuning: 2 steps, 0.471 passes over the labels, about \d+ s on this machine", finetuning
    )
    assert head.endswith("a new one is trained")
    assert set(metrics(tmp_path / "f")["estimated_seconds"]) == {"pretraining", "fine-tuning"}  # type: ignore[call-overload]
    config = yaml.safe_load((tmp_path / "f" / "config.yaml").read_text())
    assert (config["finetuning"]["layer_decay"], config["tokenizer"]["truncation"]) == (0.9, "head+tail")
    run("finetune", *flags, "--pretrained", "continued", "--output", tmp_path / "g")  # it is there now
    assert [line.partition(":")[2].split()[0] for line in told(capsys)] == ["preset", "fine-tuning:"]


@pytest.mark.parametrize("command", ["prepare", "pretrain", "finetune", "check-data"])
def test_a_wrong_preset_is_one_line(
    run: Run, corpus: list[str], config: str, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    line = refused(run, capsys, command, *corpus, "--preset", "tiny")
    assert line == "textadv: error: --preset tiny: no such preset; there are base, paper, small, transformer"
    line = refused(run, capsys, command, *corpus, "--config", config, "--preset", "small")
    assert line == "textadv: error: --preset small: cannot be used, as --config has sizes of its own"
    assert not Path("cache").exists()
    assert not Path("runs").exists()


def test_own_files_are_looked_over_before_they_are_prepared(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether or not there is a config, and once."""
    base = ["finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f"]
    uneven = [(f"this is text number {i}", "happy" if i % 8 else "sad") for i in range(80)]
    uneven += [("  ", "sad"), ("one", "sad"), ("one", "happy")]
    file = write_rows(tmp_path / "uneven.csv", uneven)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run(*base, "--data.train", file)
    said = capsys.readouterr().err
    assert re.search(r"^wrong empty +nothing but white space: 1$", said, re.M)
    assert re.search(r"^look  balance +the largest class is 6.5 times the smallest$", said, re.M)
    assert re.search(r"^look  conflicts +equal texts with different labels: 1$", said, re.M)
    assert not re.search(r"^ok ", said, re.M)
    assert said.splitlines()[-1].endswith("uneven.csv, line 82: column 'review' is empty")
    file = write_rows(tmp_path / "uneven.csv", [row for row in uneven if row[0].strip()])
    run(*base, "--data.train", file)
    assert "look  balance" in capsys.readouterr().err
    run(*base, "--data.train", file)
    assert "look  balance" not in capsys.readouterr().err


def test_large_files_are_not_looked_over(
    run: Run,
    corpus: list[str],
    config: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check_data, "MOST_BYTES", 100)
    run("finetune", "--config", config, *corpus, "--pretrained", "none", "--output", tmp_path / "f")
    (line,) = told(capsys)
    assert line == "textadv: the files are large; `textadv check-data` looks for what is wrong with them"


def test_files_that_a_pattern_names_are_looked_over(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, size in (("a", 40), ("b", 41)):
        rows = [(f"text {part} of number {i}", "happy" if i % 8 else "sad") for i in range(size)]
        write_rows(tmp_path / f"part-{part}.csv", rows)
    files = [*corpus, "--data.train", tmp_path / "part-*.csv"]
    run("finetune", "--config", config, *files, "--pretrained", "none", "--output", tmp_path / "f")
    assert re.search(r"^look  balance +the largest class is 6.4 times the smallest$", capsys.readouterr().err, re.M)


def test_check_data_says_how_long_a_training_takes(
    run: Run, corpus: list[str], config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("check-data", *corpus, *FEW)
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"ok    time +pretraining \d+ s, fine-tuning \d+ s \(preset small\)", last)
    run("check-data", *corpus, "--config", config)
    assert capsys.readouterr().out.splitlines()[-1].endswith("(the config)")
    run("check-data", *corpus, *FEW, "--data.unlabeled", "null")
    last, _, why = capsys.readouterr().out.partition("look  time ")[2].partition("\n")
    assert last.strip() == "not measured, as training would refuse the settings"
    assert why.strip().startswith("--finetuning.method adversarial+vat: needs unlabeled text")
    assert not (tmp_path / "cache").exists()
