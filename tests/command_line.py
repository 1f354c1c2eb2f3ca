"""The command line on a tiny corpus, as tests use it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
