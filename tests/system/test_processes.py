"""The processes of a run, here with scripts instead of a training; whole commands are in `test_several_commands.py`."""

import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from textadv.errors import InputError
from textadv.settings import TrainerSettings
from textadv.system import processes

ROOT = Path(__file__).parents[2]
TWO = TrainerSettings(devices=2)
HEAD = """
import os, signal, sys, time
from pathlib import Path
from textadv.errors import InputError, ProcessLostError
rank, folder = os.environ["LOCAL_RANK"], Path(__file__).parent
(folder / f"pid{rank}").write_text(str(os.getpid()))
"""
Start = Callable[[str], int]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    others = ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS", "SLURM_JOB_NAME")
    for name in (*processes.RANKS, processes.STARTED, *others):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Run a script in two processes."""

    def run(script: str) -> int:
        (tmp_path / "script.py").write_text(HEAD + script)
        return processes.run_all(partial(runpy.run_path, str(tmp_path / "script.py")), [], TWO)

    return run


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_processes_know_each_other(start: Start, tmp_path: Path) -> None:
    names = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TEXTADV_STARTED")
    script = f"(folder / f'told{{rank}}').write_text(' '.join(os.environ[name] for name in {names}))"
    before = dict(os.environ)
    assert start(script) == 0
    assert dict(os.environ) == before
    first, second = ((tmp_path / f"told{rank}").read_text().split() for rank in (0, 1))
    assert (first[0], second[0]) == ("0", "1")
    assert first[1:] == second[1:]
    assert first[1:4] == ["0", "2", "127.0.0.1"]


def test_what_is_wrong_is_said_once(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert start("raise InputError('no such file')") == 2
    assert capsys.readouterr().err == "textadv: error: no such file\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [("OSError(5, 'Input/output error', 'x.csv')", "x.csv: Input/output error"), ("MemoryError()", "out of memory ()")],
)
def test_what_the_system_refuses_is_one_line(
    start: Start, capsys: pytest.CaptureFixture[str], error: str, line: str
) -> None:
    assert start(f"raise {error}") == 2
    assert capsys.readouterr().err == f"textadv: error: {line}\n"


def test_the_cause_is_named_rather_than_who_noticed(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    script = """
if rank == "1":
    raise ProcessLostError("another one is gone")
while not (folder / "pid1").exists():
    time.sleep(0.01)
time.sleep(0.5)
raise InputError('disk full')
"""
    assert start(script) == 2
    assert capsys.readouterr().err == "textadv: error: disk full\n"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_dead_process_ends_the_other(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, rank: str
) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)
    assert start(f"os.kill(os.getpid(), signal.SIGKILL) if rank == '{rank}' else time.sleep(1000)") == 137
    assert capsys.readouterr().err == (
        f"textadv: error: process {rank} was ended by SIGKILL, and the others with it; what has been saved is kept, "
        "and --resume goes on from there\n"
    )
    assert all(gone(int(file.read_text())) for file in tmp_path.glob("pid?"))


HANDLED = """
def stop(signum, frame):
    sys.exit(128 + signum)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("handled", [True, False])
def test_signals_are_passed_on(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str], signum: signal.Signals, code: int, handled: bool
) -> None:
    def send() -> None:
        while not all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)):
            time.sleep(0.01)
        os.kill(os.getpid(), signum)

    before = signal.getsignal(signum)
    threading.Thread(target=send).start()
    assert start(HANDLED * handled + "(folder / f'ready{rank}').touch()\ntime.sleep(1000)") == code
    assert capsys.readouterr().err == ("" if handled else f"textadv: stopped by {signum.name}\n")
    assert all(gone(int(file.read_text())) for file in tmp_path.glob("pid?"))
    assert signal.getsignal(signum) is before


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(HEAD + "time.sleep(1000)")
    code = "import runpy, sys; from functools import partial\n"
    code += "from textadv import settings; from textadv.system import processes\n"
    code += "if __name__ == '__main__': processes.run_all(partial(runpy.run_path, sys.argv[1]), [], "
    code += "settings.TrainerSettings(devices=2))"
    parent = subprocess.Popen([sys.executable, "-c", code, tmp_path / "script.py"], cwd=ROOT, stderr=subprocess.PIPE)
    files = [tmp_path / f"pid{rank}" for rank in (0, 1)]
    while not all(file.exists() and file.read_text() for file in files):
        assert parent.poll() is None
        time.sleep(0.01)
    parent.kill()
    assert parent.communicate(timeout=60)[1].count(b"the process that started this one is gone") == 2
    assert all(gone(int(file.read_text())) for file in files)


@pytest.mark.parametrize(
    ("environment", "main"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "8", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "2"}, False),
    ],
)
def test_the_main_process(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], main: bool) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes.is_main() == main


def test_no_two_starts_of_several_processes_have_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in the same second: each has a folder in `runs` by this name, which only the main process makes."""
    monkeypatch.setattr("time.strftime", lambda _: "then")
    first, second = (processes._meeting_point(TWO)[processes.STARTED] for _ in range(2))
    assert first != second
    assert {name.partition("-")[0] for name in (first, second)} == {"then"}


def test_processes_are_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not processes.are_to_be_started(TrainerSettings())
    assert processes.are_to_be_started(TWO)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not processes.are_to_be_started(TWO)
    with pytest.raises(InputError, match=r"devices 1 times --trainer\.num_nodes 1: there are 2 processes"):
        processes.are_to_be_started(TrainerSettings())
    with pytest.raises(InputError, match="--output"):
        processes.start_name()
    monkeypatch.setenv(processes.STARTED, "then")
    assert processes.start_name() == "then"


ONE_TASK = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS": "1"}


@pytest.mark.parametrize(
    ("environment", "devices", "expected"),
    [
        (ONE_TASK, 1, False),
        (ONE_TASK, 2, True),  # there is but this process, however many devices the job has
        (ONE_TASK | {"SLURM_JOB_NAME": "bash"}, 2, True),
        ({"SLURM_PROCID": "0"}, 2, True),  # a batch script that does not say how many tasks it wants
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive"}, 2, True),  # the shell of salloc, which is no task
        (ONE_TASK | {"SLURM_NTASKS": "2"}, 2, False),
        (ONE_TASK | {"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, 2, False),
        (ONE_TASK | {"SLURM_NTASKS": "4"}, 2, "devices 2 times --trainer.num_nodes 1: there are 4 processes"),
        (ONE_TASK | {"SLURM_NTASKS": "2"}, 1, "devices 1 times --trainer.num_nodes 1: there are 2 processes"),
        (ONE_TASK | {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash"}, 2, "SLURM_JOB_NAME"),
        (ONE_TASK | {"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, 2, False),  # torchrun, within one task
        (ONE_TASK | {"LOCAL_RANK": "0", "WORLD_SIZE": "4", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash"}, 4, False),
    ],
)
def test_what_slurm_has_started(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], devices: int, expected: bool | str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if isinstance(expected, bool):
        assert processes.are_to_be_started(TrainerSettings(devices=devices)) == expected
        if expected:
            assert processes.start_name()  # what is started here needs no --output
    else:
        with pytest.raises(InputError, match=re.escape(expected)):
            processes.are_to_be_started(TrainerSettings(devices=devices))


def test_lightning_finds_the_processes_of_one_task(
    monkeypatch: pytest.MonkeyPatch, start: Start, tmp_path: Path
) -> None:
    """And not the one process that SLURM has started."""
    for name, value in (ONE_TASK | {"SLURM_NNODES": "1", "SLURM_JOB_NAME": "train"}).items():
        monkeypatch.setenv(name, value)
    script = """
from textadv.system.processes import is_main
from textadv.settings import TrainerSettings
from textadv.training.runs import build_trainer
machine = TrainerSettings(accelerator="cpu", devices=2)
trainer = build_trainer(machine, [], logger=False, enable_checkpointing=False)
(folder / f"told{rank}").write_text(f"{trainer.world_size} {trainer.global_rank} {is_main()}")
"""
    assert start(script) == 0
    assert [(tmp_path / f"told{rank}").read_text() for rank in (0, 1)] == ["2 0 True", "2 1 False"]


def test_machines_must_know_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(InputError, match="num_nodes 3: MASTER_ADDR, MASTER_PORT must be set"):
        processes._meeting_point(TrainerSettings(devices=2, num_nodes=3))
    monkeypatch.setenv("MASTER_ADDR", "host")
    monkeypatch.setenv("MASTER_PORT", "1234")
    expected = {"NODE_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "1234", "WORLD_SIZE": "6"}
    assert processes._meeting_point(TrainerSettings(devices=2, num_nodes=3)) == expected
