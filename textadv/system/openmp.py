"""What OpenMP reads when torch is loaded: how long an idle thread spins before it sleeps. Imports no torch itself."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SPINS = "1000"  # fast alone and beside other work: the table in docs/PERFORMANCE.md
SPIN_COUNT = "GOMP_SPINCOUNT"
CHOICES = (SPIN_COUNT, "OMP_WAIT_POLICY", "KMP_BLOCKTIME")  # how a user says it; the last one is that of Intel's OpenMP


def bound_spinning() -> None:
    """Have idle threads of GNU's OpenMP sleep soon, unless the user has chosen how long they wait.

    By default they spin 300,000 times, some milliseconds, after each parallel part of the work. Alone that costs
    nothing; where another process waits for the core, both crawl. Other OpenMP libraries do not read the variable.
    To be called before torch is loaded; afterwards it does nothing, as it would have no effect.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOICES):
        os.environ[SPIN_COUNT] = SPINS


@contextmanager
def default_spinning() -> Iterator[None]:
    """Processes that are started inside have the default of their OpenMP library, unless the user has another."""
    chosen_here = os.environ.get(SPIN_COUNT) == SPINS
    if chosen_here:
        del os.environ[SPIN_COUNT]
    try:
        yield
    finally:
        if chosen_here:
            os.environ[SPIN_COUNT] = SPINS
