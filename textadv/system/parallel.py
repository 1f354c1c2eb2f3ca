"""Work shared out to other processes, in whatever program this one is.

`multiprocessing` either runs the user's main program anew in each process, which a script without a guard does not
survive, or forks it with all of its threads. The processes here import this package, and no main program.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from textadv.errors import InputError

MOST_HELPERS = 4  # more of them would wait for the process that hands out the work
READY = b"textadv: ready to share the work\n"  # what others print while a process starts is no answer

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[T], R], items: Iterable[T], helpers: int) -> Iterator[R]:
    """Apply a function to items in other processes, each of which holds one item at a time.

    Args:
        function: A function of a module, or a partial one. Pickle writes it, the items and the results.
        items: Taken one after another, as processes become free.
        helpers: How many processes at most. With fewer than two, or where none can be started, this process does the
            work.

    Returns:
        The results, in the order of the items.

    Raises:
        InputError: A process has died, such as of a lack of memory.
        Exception: What the function raises.
    """
    if helpers < 2:
        helpers = 0
    started: list[_Helper] = []
    busy: deque[_Helper] = deque()  # in the order of their items
    try:
        for item in items:
            if len(started) < helpers:
                try:
                    started.append(_Helper(max(1, cores() // helpers)))
                except OSError:
                    helpers = len(started)
                else:
                    started[-1].send(function, item)
                    busy.append(started[-1])
                    continue
            if not started:
                yield function(item)
                continue
            helper = busy.popleft()
            result = helper.result()
            helper.send(function, item)  # before this process goes on with the result
            busy.append(helper)
            yield result
        for helper in busy:
            yield helper.result()
    finally:
        for helper in started:
            helper.end()


class _Helper:
    """A process that answers one question after another, and ends with this one."""

    def __init__(self, threads: int) -> None:
        """Start it.

        Args:
            threads: Of the `tokenizers` library.

        Raises:
            OSError: It cannot be started.
        """
        path = [entry for entry in sys.path if isinstance(entry, str)]
        program = (
            f"import sys; sys.path[:] = {path!r}; "  # first of all: the folder it is in may hold a module of any name
            "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # the asking process ends it
            "from textadv.system.parallel import answer; answer()"
        )
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, env=environment)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout
        if READY not in iter(self._answers.readline, b""):
            self.end()
            raise ChildProcessError(f"{sys.executable}: does not run this package")

    def send(self, function: Callable[[T], Any], item: T) -> None:
        try:
            pickle.dump((function, item), self._questions)
            self._questions.flush()
        except BrokenPipeError:
            raise self._lost() from None

    def result(self) -> Any:
        try:
            succeeded, value = pickle.load(self._answers)
        except (EOFError, pickle.UnpicklingError):
            raise self._lost() from None
        if not succeeded:
            raise value
        return value

    def _lost(self) -> InputError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._process.kill()
        code = self._process.wait()
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return InputError(f"a process that shared the work {end}")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._questions, self._answers):
            with suppress(BrokenPipeError):  # the rest of a question that nobody waits for
                pipe.close()


def answer() -> None:
    """What such a process does until its input ends."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no answer
    answers.write(READY)
    with suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):  # the asking process has ended
        while True:
            answers.flush()
            function, item = pickle.load(questions)
            answers.write(_reply(function, item))
    os._exit(0)  # without another try to write what is left


def _reply(function: Callable[[T], Any], item: T) -> bytes:
    try:
        return pickle.dumps((True, function(item)))
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(repr(error))
        return pickle.dumps((False, error))
