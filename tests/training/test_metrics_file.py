import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from textadv.errors import InputError
from textadv.training.metrics_file import MetricsFile, TensorBoardFile, tensorboard


def test_rows_and_columns_as_they_come(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "run" / "metrics.csv")
    file.log_metrics({"loss": 0.1, "epoch": 0}, 0)
    file.log_metrics({"loss": 1 / 3, "epoch": 0}, 1)
    file.log_metrics({"error": 12.5, "epoch": 0}, 1)
    file.log_metrics({"loss": 0.2, "epoch": 0}, 2)
    assert file.path.read_text().splitlines() == [
        "epoch,error,loss,step",
        "0,,0.1,0",
        "0,,0.3333333333333333,1",
        "0,12.5,,1",
        "0,,0.2,2",
    ]
    assert file.rows == 4


def test_a_new_run_starts_anew(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        MetricsFile(tmp_path / "metrics.csv").log_metrics({"loss": value}, 0)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["loss,step", "2.0,0"]


@pytest.mark.parametrize("kept", range(6))
def test_what_is_kept_and_added_equals_what_was_never_cut(tmp_path: Path, kept: int) -> None:
    rows: list[tuple[dict[str, float], int]] = [({"loss": 1 / (i + 3)}, i) for i in range(4)]
    rows.insert(3, ({"error": 5.0}, 2))
    whole, parts = MetricsFile(tmp_path / "whole.csv"), MetricsFile(tmp_path / "parts.csv")
    for row, step in rows:
        whole.log_metrics(row, step)
        parts.log_metrics(row, step)
    with parts.path.open("a") as torn:
        torn.write("0.25,")
    parts = MetricsFile(tmp_path / "parts.csv")
    parts.keep(kept)
    assert parts.rows == min(kept, 5)
    for row, step in rows[kept:]:
        parts.log_metrics(row, step)
    assert parts.path.read_text() == whole.path.read_text()


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff\n\n1,2,3"])
def test_a_lost_file_is_no_reason_to_stop(tmp_path: Path, content: bytes | None) -> None:
    file = MetricsFile(tmp_path / "metrics.csv")
    if content is not None:
        file.path.write_bytes(content)
    file.keep(3)
    file.log_metrics({"loss": 1.0}, 3)
    assert file.path.read_text().splitlines()[-1].endswith("1.0,3")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(InputError, match=r"metrics\.csv: cannot be written"):
        MetricsFile(tmp_path / "metrics.csv").log_metrics({"loss": 1.0}, 0)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads there."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_events(tmp_path: Path) -> None:
    file = TensorBoardFile(tmp_path / "events", resumed=False)
    file.log_metrics({"loss": 0.5, "epoch": 0}, 3)
    assert scalars(tmp_path / "events") == {"loss": [(3, 0.5)], "epoch": [(3, 0)]}  # at once
    file.log_metrics({"loss": 0.25}, 4)
    TensorBoardFile(tmp_path / "events", resumed=True).log_metrics({"loss": 0.125}, 5)
    assert scalars(tmp_path / "events")["loss"] == [(3, 0.5), (4, 0.25), (5, 0.125)]
    (tmp_path / "events" / "mine.txt").touch()
    TensorBoardFile(tmp_path / "events", resumed=False).log_metrics({"loss": 2.0}, 0)
    assert scalars(tmp_path / "events") == {"loss": [(0, 2.0)]}
    assert (tmp_path / "events" / "mine.txt").exists()


def test_events_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "events").touch()
    with pytest.raises(InputError, match=r"tfevents.*: cannot be written"):
        TensorBoardFile(tmp_path / "events", resumed=True).log_metrics({"loss": 1.0}, 0)


def test_a_tensorboard_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)  # importing it raises
    assert tensorboard(tmp_path, resumed=False) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("textadv: no curves for TensorBoard: ")
