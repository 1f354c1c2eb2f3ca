import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from textadv.benchmark import suite
from textadv.benchmark.contenders import Timing
from textadv.corpus.store import TokenStore
from textadv.settings import Experiment


def test_figures_are_medians() -> None:
    timings = [Timing(1.0, 10.0, 100.0, 5.0), Timing(2.0, 30.0, 600.0, 6.0), Timing(4.0, 40.0, 100.0, 7.0)]
    assert suite._figures(timings, np.array([200.0, 400.0, 100.0]), 7.0) == {
        "tokens_per_second": 10.0,
        "seconds_per_step": 2.0,
        "share_of_peak": 0.5,  # of 0.5, 0.75 and 0.25
        "peak_memory": 7.0,
    }


def test_ratios_are_of_tokens_per_second() -> None:
    tasks = {"vat": {"ours": {"tokens_per_second": 12.0}, "textbook": {"tokens_per_second": 3.0}}}
    assert suite._ratios(tasks, "textbook") == {"vat": 4.0}


def _row(tokens_per_second: float, share_of_peak: float) -> dict[str, float]:
    row = {"tokens_per_second": tokens_per_second, "seconds_per_step": 0.5, "peak_memory": 2.0**30}
    return row | {"share_of_peak": share_of_peak}


def _result(encoder_forward: float, ours: float, textbook: float) -> dict[str, Any]:
    """Figures with the given shares of the peak."""
    products = {"MKL 2048 x 2048 x 2048": 0.8e11, "oneDNN 1024 x 1024 x 1024": 1.5e11}
    machine = {"peak": 1.5e11, "peak_product": "oneDNN 1024 x 1024 x 1024", "matrix_products": products}
    return {
        "device": "2 CPU threads",
        "machine": machine | {"encoder_forward": encoder_forward, "encoder_backward": 0.65},
        "tasks": {"vat": {"ours": _row(1234.0, ours), "textbook": _row(617.0, textbook)}},
        "predict_reviews_per_second": 700.0,
    }


def test_table_shows_every_row_and_which_product_is_the_peak() -> None:
    lines = suite.table(_result(0.7, 0.61, 0.3)).splitlines()
    assert lines[0].startswith("2 CPU threads: peak 150 GFLOP/s (oneDNN 1024 x 1024 x 1024); encoder forward 70% of it")
    assert [line.split()[-1] for line in lines[3:5]] == ["80", "150"]
    assert lines[7].split() == ["vat", "ours", "1,234", "0.500", "61%", "1.00", "1.00x"]
    assert lines[8].split()[-1] == "2.00x"
    assert "700 reviews/s" in lines[-1]
    assert not any("more than" in line for line in lines)


def test_a_share_beyond_the_peak_is_shown_and_said() -> None:
    result = _result(1.61, 1.012, 1.0)
    assert suite.beyond_peak(result) == ["encoder forward 161.0%", "vat (ours) 101.2%"]
    lines = suite.table(result).splitlines()
    assert "encoder forward 161% of it" in lines[0]
    assert "101%" in lines[7].split()
    assert [line for line in lines if "more than 100 %" in line] == [
        "more than 100 % of the peak, which is therefore not the machine's: encoder forward 161.0%, vat (ours) 101.2%"
    ]


def test_each_step_is_compared_with_the_peak_right_after_it(
    monkeypatch: pytest.MonkeyPatch, experiment: Experiment, store: TokenStore
) -> None:
    """The machine halves its speed with each turn; a step of 100 operations takes 1, 2, 4, ... seconds."""
    clock = itertools.count()
    turn = 0

    @contextmanager
    def process(*arguments: object) -> Iterator[Callable[[], Timing]]:
        def step() -> Timing:
            nonlocal turn
            turn = next(clock)
            return Timing(2.0**turn, 10.0, 100.0, 5.0)

        yield step

    def speeds(products: object, device: str) -> dict[str, float]:
        return {"MKL": 100 / 2.0**turn, "oneDNN": 400 / 2.0**turn}

    monkeypatch.setattr(suite, "process", process)
    monkeypatch.setattr(suite, "speeds", speeds)
    figures = suite._compare("vat", experiment, store, [], "cpu", 2)
    assert {name: row["share_of_peak"] for name, row in figures.items()} == dict.fromkeys(suite.CONTENDERS, 0.25)


@pytest.mark.slow
def test_quick_benchmark(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command on the built-in corpus, with processes of their own."""
    import json
    import sys
    from pathlib import Path

    from textadv.cli import main

    output = Path(str(tmp_path)) / "out"
    flags = ["--data.source", "builtin", "--data.cache", str(tmp_path), "--model.embedding_size", "8"]
    flags += ["--model.hidden_size", "8", "--pretraining.batch_size", "4", "--pretraining.window", "10"]
    flags += ["--output", str(output), "--trainer.accelerator", "cpu"]
    monkeypatch.setattr(sys, "argv", ["textadv", "benchmark", "--quick", *flags])
    main()
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics["speedup"]) == {"language model", "adversarial+vat"}
