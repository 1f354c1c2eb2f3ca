import numpy as np
import pytest

from textadv.benchmark import suite
from textadv.benchmark.contenders import Timing


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


def test_table_shows_every_row() -> None:
    row = {"tokens_per_second": 1234.0, "seconds_per_step": 0.5, "share_of_peak": 0.61, "peak_memory": 2.0**30}
    slow = row | {"tokens_per_second": 617.0}
    result = {
        "device": "2 CPU threads",
        "machine": {"matrix_product": 1.5e11, "lstm_forward": 0.7, "lstm_backward": 0.65},
        "tasks": {"vat": {"ours": row, "textbook": slow}},
        "predict_reviews_per_second": 700.0,
    }
    lines = suite.table(result).splitlines()
    assert "150 GFLOP/s" in lines[0]
    assert "70%" in lines[0]
    assert lines[3].split() == ["vat", "ours", "1,234", "0.500", "61%", "1.00", "1.00x"]
    assert lines[4].split()[-1] == "2.00x"
    assert "700 reviews/s" in lines[-1]


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
