"""How flags and YAML become settings: both by the setting's type, so that they mean the same."""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import Namespace

from textadv import cli
from textadv.settings import AttackSettings, Experiment

PARSER = cache(cli.build_parser)
ODD = ["null", "~", "Null", "1", "1.5", "1e5", "true", "no", "[a]", "{a: b}", "a: b", "", " ", "-", "-5", "12:30", "01"]


def parsed(*arguments: str) -> Namespace:
    return PARSER().parse_args(list(arguments))[arguments[0]]  # type: ignore[no-any-return]


def read(tmp_path: Path, command: str, content: str) -> Namespace:
    (tmp_path / "c.yaml").write_text(content, encoding="utf-8")
    return parsed(command, "--config", str(tmp_path / "c.yaml"))


@pytest.mark.parametrize("value", ODD)
def test_any_text_may_be_classified(tmp_path: Path, value: str) -> None:
    """And stand for a file, a folder, a split or a column."""
    for flag in ("text", "input", "output", "checkpoint"):
        assert parsed("predict", "--checkpoint", "c", f"--{flag}={value}")[flag] == value
        assert read(tmp_path, "predict", yaml.safe_dump({"checkpoint": "c", flag: value}))[flag] == value
    report = parsed(
        "report", "--checkpoint", "c", f"--split={value}", f"--data.text_column={value}", "--compare", "x", value
    )
    assert (report.split, report.data.text_column, report.compare) == (value, value, ["x", value])


@pytest.mark.parametrize("value", ["1", "01", "1.0", "1e3", "no", "true", "12:30", "2020-01-01", "fgsm-l2-1"])
def test_a_name_is_the_text_that_stands_in_the_config(tmp_path: Path, value: str) -> None:
    assert read(tmp_path, "finetune", f"finetuning: {{adversary: {value}}}").finetuning.adversary == value
    assert parsed("finetune", "--finetuning.adversary", value).finetuning.adversary == value


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("data: {text_column: 1, label_column: 0, train: 5}", {"text_column": "1", "label_column": "0", "train": "5"}),
        ("data: {labels_per_class: 10, keep_duplicates: yes}", {"labels_per_class": 10, "keep_duplicates": True}),
        ("data: {source: null, test: ~, seed: 1_000}", {"source": None, "test": None, "seed": 1000}),
        ("data: {validation_fraction: 5e-2, cache: 2024}", {"validation_fraction": 0.05, "cache": "2024"}),
        ("attack: {attacks: [1, x], l2_epsilons: [1, .5, 1e1]}", {"attacks": ["1", "x"], "l2_epsilons": [1, 0.5, 10]}),
        ("compare: [1, x]", ["1", "x"]),
        ("output: 7", "7"),
        ("split: null", None),  # which is refused afterwards
    ],
)
def test_the_type_of_a_setting_says_what_a_config_means(tmp_path: Path, content: str, expected: Any) -> None:
    found = read(tmp_path, "report", f"{content}\ncheckpoint: c")[content.partition(":")[0]]
    if isinstance(expected, dict):
        found = {name: found[name] for name in expected}
    assert found == expected


@pytest.mark.parametrize(("word", "value"), [("true", True), ("yes", True), ("false", False), ("no", False)])
def test_switches(tmp_path: Path, word: str, value: bool) -> None:
    assert read(tmp_path, "benchmark", f"quick: {word}").quick is value
    assert parsed("benchmark", "--quick").quick is True
    assert parsed("benchmark").quick is False


def test_a_word_is_no_switch(tmp_path: Path) -> None:
    with pytest.raises(cli.argparse.ArgumentError, match='"quick"'):
        read(tmp_path, "benchmark", "quick: maybe")


EXPERIMENT = yaml.safe_dump(asdict(Experiment()) | {"attack": asdict(AttackSettings()), "checkpoint": "c"})


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_command_takes_its_part_of_an_experiment(tmp_path: Path, command: str) -> None:
    """Of a config; its flags are those of what it reads, and no others."""
    found = read(tmp_path, command, EXPERIMENT)
    taken = {name for name in found.as_flat().__dict__ if not name.startswith(("config", "__"))}
    own = {"config"} & cli.keys(cli.COMMANDS[command])  # of `experiment`, which reads that file itself
    assert taken == cli.keys(cli.COMMANDS[command]) - own
    required = ["--checkpoint", "c"] if "checkpoint" in taken else []
    required += ["--config", "c"] if own else []
    for name in {name.partition(".")[0]: name for name in sorted(cli.ALL_KEYS - taken)}.values():
        with pytest.raises(cli.argparse.ArgumentError, match=f"unrecognized arguments: --{name}"):
            parsed(command, *required, f"--{name}", "1")


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        ("finetuning: {epsilom: 3}", "finetuning.epsilom"),
        ("finetuning: {epsilon: 3, epsilom: 3}", "finetuning.epsilom"),
        ("finetuning: 3", "finetuning"),
        ("finetuning.epsilom: 3", "finetuning.epsilom"),
        ("trainer: {accelerator: cpu, devices: 2}\nfine-tuning: {epsilon: 3}", "fine-tuning"),
        ("data: {sourze: x, source: builtin}", "data.sourze"),
    ],
)
def test_what_no_command_takes_is_refused(tmp_path: Path, content: str, culprit: str) -> None:
    """Also in a section that the command does not read."""
    with pytest.raises(cli.argparse.ArgumentError, match=culprit):
        read(tmp_path, "prepare", content)


def test_dashes_stand_for_underscores() -> None:
    flags = ["report", "--checkpoint", "c", "--source-checkpoint"]
    assert parsed(*flags, "x").source_checkpoint == "x"
    assert parsed(*flags[:-1], "--source_checkpoint=x").source_checkpoint == "x"


def test_a_printed_config_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "finetune",
        "--output",
        "null",
        "--pretrained",
        "1",
        "--finetuning.adversary",
        "1",
        "--data.text_column",
        "no",
    ]
    with pytest.raises(SystemExit):
        parsed(*flags, "--print_config")
    again = read(tmp_path, "finetune", capsys.readouterr().out)
    expected = parsed(*flags)
    del again["config"], expected["config"]
    assert again == expected


@pytest.mark.parametrize("config", [["--config", "FILE"], ["--config=FILE"]])
@pytest.mark.parametrize("place", [0, 1])
def test_a_flag_wins_over_the_file_wherever_it_stands(tmp_path: Path, config: list[str], place: int) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("finetuning: {epsilon: 3}")
    given = [argument.replace("FILE", str(file)) for argument in config]
    arguments = ["finetune", *given, "--finetuning.epsilon", "2"]
    if place:
        arguments = ["--finetuning.epsilon", "2", *given]  # finetune, which need not be named
    _, values = cli.parse(arguments)
    assert values["experiment"].finetuning.epsilon == 2
