import sys
from pathlib import Path

import pytest
import yaml
from command_line import BAD, GOOD, SMALL, Run, sentence, write_rows

from textadv.cli import main


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
    monkeypatch.setattr("textadv.system.machine.prepare_machine", lambda: None)
    monkeypatch.setattr("textadv.training.estimates.SECONDS", 0.01)

    def command(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["textadv", *map(str, arguments)])
        main()

    return command


@pytest.fixture
def pretrained(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a tiny Transformer."""
    from tiny_transformers import write_pretrained

    return write_pretrained(tmp_path / "pretrained", getattr(request, "param", "bert"))


@pytest.fixture
def flags(corpus: list[str], config: str, pretrained: Path) -> list[str]:
    """Those of a command that trains that Transformer."""
    from tiny_transformers import LIMIT

    encoder = ["--model.encoder", "transformer", "--model.pretrained", str(pretrained), "--model.pooling", "mean"]
    return ["--config", config, *corpus, *encoder, "--tokenizer.max_tokens", str(LIMIT), "--finetuning.epsilon", "0.5"]
