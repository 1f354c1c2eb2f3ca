import io
import sys
from collections.abc import Iterator

import pytest

from textadv.system import progress as module
from textadv.system.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clock(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    now = [0.0]

    def monotonic() -> float:
        now[0] += step
        return now[0]

    monkeypatch.setattr(module.time, "monotonic", monotonic)


def test_the_items_pass_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress("abc", 3, "reading")) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""


def test_in_a_log_there_is_a_line_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 1.0)
    list(progress(range(3), 4, "reading"))
    assert capsys.readouterr().err == "reading: 3 of 4 (75 %), 4 s\n"


def test_in_a_log_there_is_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 4.0)
    list(progress(range(5), 5, "reading"))
    assert capsys.readouterr().err.splitlines() == [
        "reading: 3 of 5 (60 %), 12 s",
        "reading: 5 of 5 (100 %), 24 s",
    ]


def test_lines_come_while_the_loop_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 10.0)
    items = progress(range(5), 5, "reading")
    next(items), next(items)
    assert capsys.readouterr().err.startswith("reading: 1 of 5 (20 %)")


def test_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([], 0, "reading")) == []
    assert capsys.readouterr().err == "reading: 0 of 0, 0 s\n"


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(range(3), 3, "reading")) == [0, 1, 2]
    assert "reading: 100%" in terminal.getvalue()
    assert "\r" in terminal.getvalue()


def test_it_is_lazy() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise AssertionError("asked for too much")

    assert next(progress(items(), 2, "reading")) == 1
