"""What does not fit into memory: lists and sorted rows on disk."""

import errno
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textadv.corpus import spool
from textadv.corpus.spool import SortedRows, Spool, batches, text_bytes
from textadv.errors import InputError

VALUES = [("text", 1, b"bytes"), [], "naïve \U0001f600", [("a", [1, -1])] * 100]


@pytest.mark.parametrize("memory", [1, 2**20])
def test_a_spool_is_read_as_often_as_one_likes(tmp_path: Path, memory: int) -> None:
    values = Spool(tmp_path, memory)
    for value in VALUES:
        values.append(value)
    assert list(values) == VALUES
    assert list(zip(values, values, strict=True)) == list(zip(VALUES, VALUES, strict=True))
    values.append(5)
    assert list(values) == [*VALUES, 5]


def test_nothing_that_has_a_name_is_on_disk(tmp_path: Path) -> None:
    """Else it would be left by a process that is killed."""
    values = Spool(tmp_path, memory=1)
    values.append("x" * 10_000)
    assert list(tmp_path.iterdir()) == []
    assert list(values) == ["x" * 10_000]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = Spool(tmp_path)
    monkeypatch.setattr(values._file, "write", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(InputError, match=rf"^{tmp_path}: cannot write: No space left on device$"):
        values.append(1)


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 3))))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_sorted_however_many(monkeypatch: pytest.MonkeyPatch, content: list[tuple[str, int]]) -> None:
    monkeypatch.setattr(spool, "RUN_BYTES", 1000)  # about four rows
    monkeypatch.setattr(spool, "BLOCK_BYTES", 500)
    monkeypatch.setattr(spool, "MOST_RUNS", 2)
    rows = SortedRows(None, text_bytes)
    for row in content:
        rows.add(row)
    assert len(rows) == len(content)
    assert list(rows) == list(rows) == sorted(content)


def test_batches_end_where_they_are_large_enough() -> None:
    assert list(batches(["a", "bcd", "ef", "g", "h"], len, 3)) == [["a", "bcd"], ["ef", "g"], ["h"]]
    assert list(batches([], len, 3)) == []
