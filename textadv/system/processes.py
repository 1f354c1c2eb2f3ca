"""The processes of one run, one per device: started together, told of signals together, ended together.

They are started here, unless something else has done so already (torchrun, SLURM, Lightning's own launcher). The one
that starts them trains nothing itself: it passes signals on, and where a process dies it ends the others and says why.

torch's elastic launcher, torchrun's, fails two guarantees: it blames the process that ended first, even where that one
only noticed another one's full disk (the exit code must be 2), and after a signal it drops the processes' exit codes.
"""

import atexit
import multiprocessing
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from textadv.errors import InputError, ProcessLostError, refusal
from textadv.settings import TrainerSettings

# What the starters of processes number them by: all that are set are 0 in the main process, and in no other one.
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
STARTERS = ("LOCAL_RANK", "JSM_NAMESPACE_RANK")  # set by what starts each process, unless it is SLURM
TASKS = "SLURM_NTASKS"
INTERACTIVE = ("bash", "interactive")
STARTED = "TEXTADV_STARTED"  # the name of the start, for all processes of a run
SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE_SECONDS = 8.0  # between the end of one process and the forced end of the others
WRONG_INPUT, LOST = 2, 1  # exit codes

Run = Callable[[Sequence[str]], None]


def is_main() -> bool:
    """Whether this process is the one that writes and prints: the only one, or rank 0."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def are_to_be_started(trainer: TrainerSettings) -> bool:
    """Whether the run needs several processes and nobody has started them.

    Raises:
        InputError: Another number of processes has been started than the settings ask for.
    """
    wanted = trainer.devices * trainer.num_nodes
    by_slurm = _is_one_of_several_tasks()
    count = TASKS if by_slurm and "WORLD_SIZE" not in os.environ else "WORLD_SIZE"
    started = int(os.environ.get(count, wanted))
    if started != wanted:
        ask = f"--trainer.devices {trainer.devices} times --trainer.num_nodes {trainer.num_nodes}"
        raise InputError(f"{ask}: there are {started} processes ({count})")
    if count == TASKS and os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        names = " or ".join(INTERACTIVE)
        raise InputError(f"SLURM_JOB_NAME: Lightning passes over SLURM in a job called {names}; give it another name")
    return wanted > 1 and not by_slurm and not any(name in os.environ for name in STARTERS)


def _is_one_of_several_tasks() -> bool:
    """Whether SLURM has started several of this process: with one task there is but this one, however many devices."""
    return "SLURM_PROCID" in os.environ and int(os.environ.get(TASKS, "1")) > 1


def start_name() -> str:
    """The name of a run that is given none: when it was started, the same in all of its processes.

    Where there are several, no other run has it: they could not tell each other of another name.

    Raises:
        InputError: They were started by something that does not tell them.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 or _is_one_of_several_tasks()
    if STARTED not in os.environ and several:
        raise InputError("--output: is needed where something else (torchrun, SLURM) starts the processes")
    return os.environ.get(STARTED) or time.strftime("%Y%m%d-%H%M%S")


def run_all(run: Run, arguments: Sequence[str], trainer: TrainerSettings) -> int:
    """Run in one process per device of this machine.

    Args:
        run: Does the work of one process; a function of a module, as the processes are fresh ones.
        arguments: Its argument.
        trainer: For the number of processes.

    Returns:
        The exit code: that of the process that failed first, 128 + the signal where a signal ended it.

    Raises:
        InputError: There are several machines, and the environment does not say which is which.
    """
    context = multiprocessing.get_context("spawn")
    common = _meeting_point(trainer)
    processes: list[SpawnProcess] = []
    errors: list[Connection] = []  # what each process has to say about wrong input
    with _passed_on(processes) as received:
        for rank in range(trainer.devices):
            receiver, sender = context.Pipe(duplex=False)
            environment = common | {"LOCAL_RANK": str(rank)}
            process = context.Process(target=_work, args=(run, list(arguments), environment, sender), name=str(rank))
            process.start()
            sender.close()
            processes.append(process)
            errors.append(receiver)
            if received:
                break
        cause = _wait_for(processes)
    messages: dict[str, None] = {}  # each once
    for receiver in errors:
        with suppress(EOFError):
            messages[receiver.recv()] = None
    for message in messages:
        print(f"textadv: error: {message}", file=sys.stderr)
    code = 0 if cause is None else cause.exitcode or 0
    if code < 0 and received:
        print(f"textadv: stopped by {signal.Signals(-code).name}", file=sys.stderr)
    elif cause is not None and (code < 0 or code == LOST):
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 else "failed"
        line = f"textadv: error: process {cause.name} {end}, and the others with it; what has been saved is kept, and "
        print(line + "--resume goes on from there", file=sys.stderr)
    return 128 - code if code < 0 else code


def _meeting_point(trainer: TrainerSettings) -> dict[str, str]:
    """What Lightning and the processes need to know of each other, in the environment."""
    known = {name: os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name in os.environ}
    common = {"WORLD_SIZE": str(trainer.devices * trainer.num_nodes)}
    if trainer.num_nodes == 1:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
        name = f"{start_name()}-{secrets.token_hex(4)}"
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", STARTED: name}
    elif missing := {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} - known.keys():
        flag = f"--trainer.num_nodes {trainer.num_nodes}"
        raise InputError(f"{flag}: {', '.join(sorted(missing))} must be set in the environment of each machine")
    return common | known


def _work(run: Run, arguments: Sequence[str], environment: dict[str, str], errors: Connection) -> None:
    """What a process does."""
    os.environ.update(environment)
    os.environ.pop(TASKS, None)  # by which Lightning would tell that SLURM had started this process
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with suppress(AttributeError, OSError):
        os.setpgid(0, 0)  # Ctrl-C reaches the starting process alone, which passes it on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = 0
    try:
        run(arguments)
    except ProcessLostError:
        code = LOST
    except Exception as error:
        message = refusal(error)
        if message is None:
            raise
        errors.send(message)
        code = WRONG_INPUT
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else LOST
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # with torch loaded it can take Python many seconds to tidy its memory up


def _end_with_parent() -> None:
    """Leave no orphan."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    with suppress(OSError):
        print("textadv: error: the process that started this one is gone", file=sys.stderr, flush=True)
    os._exit(LOST)


@contextmanager
def _passed_on(processes: Sequence[SpawnProcess]) -> Iterator[list[int]]:
    """Pass signals on to all processes; yields those that have come."""
    received: list[int] = []

    def forward(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        for process in processes:
            if process.exitcode is None and process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signum)

    before = {signum: signal.signal(signum, forward) for signum in SIGNALS}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _wait_for(processes: Sequence[SpawnProcess]) -> SpawnProcess | None:
    """Wait for all, and not for long once one has failed; the first one that failed on its own, if any.

    A process that found itself without the others did not fail first, even if it was the first to end.
    """
    failed: list[SpawnProcess] = []
    deadline: float | None = None
    alive = list(processes)
    while alive:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not wait([process.sentinel for process in alive], timeout):
            for process in alive:
                process.kill()
                process.join()
            break
        ended = [process for process in alive if process.exitcode is not None]
        alive = [process for process in alive if process not in ended]
        failed += [process for process in ended if process.exitcode]
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE_SECONDS
    return min(failed, key=lambda process: process.exitcode == LOST, default=None)
