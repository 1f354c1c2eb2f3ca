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

from textadv.errors import ProcessLostError

MOST_HELPERS = 4  # more of them would wait for the process that hands out the work

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
        helpers: How many processes at most. With fewer than two, this process does the work.

    Returns:
        The results, in the order of the items.

    Raises:
        ProcessLostError: A process has died, such as of a lack of memory.
        Exception: What the function raises.
    """
    if helpers < 2 or not sys.executable:
        yield from map(function, items)
        return
    started: list[_Helper] = []
    busy: deque[_Helper] = deque()  # in the order of their items
    try:
        for item in items:
            if len(busy) < helpers:
                started.append(_Helper())
                started[-1].send(function, item)
                busy.append(started[-1])
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

    def __init__(self) -> None:
        program = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # the asking process ends it
            f"sys.path[:] = {sys.path!r}; from textadv.system.parallel import answer; answer()"
        )
        environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}  # there is a process for each core already
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, env=environment)

    def send(self, function: Callable[[T], Any], item: T) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump((function, item), self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None

    def result(self) -> Any:
        assert self._process.stdout is not None
        try:
            succeeded, value = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            raise self._lost() from None
        if not succeeded:
            raise value
        return value

    def _lost(self) -> ProcessLostError:
        code = self._process.wait()
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ProcessLostError(f"a process that shared the work {end}")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # the rest of a question that nobody waits for
                pipe.close()


def answer() -> None:
    """What such a process does until its input ends."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no answer
    while True:
        try:
            function, item = pickle.load(questions)
        except EOFError:
            return
        try:
            reply = True, function(item)
        except Exception as error:
            reply = False, error
        pickle.dump(reply, answers)
        answers.flush()
