import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from textadv.errors import InputError
from textadv.system.parallel import cores, in_order


def helpers() -> set[int]:
    """Processes that this one has started and not waited for."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list processes")


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("items", [[], [4], [9, 16, 25, 36, 49]])
def test_results_come_in_the_order_of_the_items(number: int, items: list[int]) -> None:
    assert list(in_order(math.sqrt, items, number)) == [math.sqrt(item) for item in items]


def test_items_and_results_are_larger_than_a_pipe() -> None:
    items = [bytes([i]) * 2**21 for i in range(5)]
    assert list(in_order(bytes.upper, items, 2)) == [item.upper() for item in items]


@needs_proc
def test_the_work_is_done_elsewhere_and_leaves_no_process() -> None:
    before = helpers()
    pids = set(in_order(eval, ["__import__('os').getpid()"] * 4, 2))
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert helpers() == before


@needs_proc
def test_an_error_is_raised_here_and_ends_all() -> None:
    before = helpers()
    with pytest.raises(ValueError, match="math domain error"):
        list(in_order(math.sqrt, [1, 4, -1, 9], 2))
    assert helpers() == before


@needs_proc
def test_who_stops_asking_ends_all() -> None:
    before = helpers()
    results = in_order(partial(pow, 2), [1, 2, 3, 4], 2)
    assert next(results) == 2
    assert len(helpers() - before) == 2
    results.close()
    assert helpers() == before


def test_no_more_items_are_taken_than_there_are_helpers() -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in range(10):
            taken.append(i)
            yield i

    results = in_order(abs, items(), 2)
    next(results)
    assert len(taken) == 3
    results.close()


@pytest.mark.parametrize(
    ("program", "end"), [("os.kill(os.getpid(), 9)", "was ended by SIGKILL"), ("os._exit(3)", "ended with exit code 3")]
)
def test_a_process_that_is_lost_is_told(program: str, end: str) -> None:
    with pytest.raises(InputError, match=f"a process that shared the work {end}"):
        list(in_order(exec, [f"import os; {program}"] * 3, 2))


def test_what_is_printed_while_a_process_starts_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert list(in_order(math.sqrt, [1, 4, 9], 2)) == [1, 2, 3]


@needs_proc
@pytest.mark.parametrize("executable", ["/nonexistent/python", "/bin/sh", ""])
def test_where_no_process_can_be_started_this_one_does_the_work(
    monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    before = helpers()
    monkeypatch.setattr(sys, "executable", executable)
    assert list(in_order(eval, ["__import__('os').getpid()"] * 3, 2)) == [os.getpid()] * 3
    assert helpers() == before


def test_modules_of_the_folder_and_strange_paths_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("signal", "pickle", "enum"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(5)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [tmp_path, *(entry for entry in sys.path if entry)])
    assert len(set(in_order(eval, ["__import__('os').getpid()"] * 3, 2)) - {os.getpid()}) == 2


def test_an_error_that_cannot_be_pickled_is_told_in_words() -> None:
    with pytest.raises(RuntimeError, match="two"):
        list(in_order(exec, ["class Two(Exception): pass\nraise Two('two')"] * 2, 2))


def test_what_the_function_prints_is_no_result(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(in_order(print, ["hello"] * 3, 2)) == [None] * 3
    assert capfd.readouterr() == ("", "hello\n" * 3)


def test_a_script_without_a_guard(tmp_path: Path) -> None:
    """Read from the standard input, even."""
    script = "import math; from textadv.system.parallel import in_order; print(list(in_order(math.sqrt, [1, 4, 9], 2)))"
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[1.0, 2.0, 3.0]\n"


@needs_proc
def test_it_ends_with_the_process_that_asks() -> None:
    script = """
import os
from textadv.system.parallel import in_order
for pid in in_order(eval, ["__import__('os').getpid()"] * 3, 2):
    print(pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert not killed.stderr
    deadline = time.monotonic() + 10
    while Path(f"/proc/{int(killed.stdout)}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{int(killed.stdout)}").exists()


def test_cores() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
