"""Requests to a server that may be out of reach."""

import threading
from collections.abc import Callable

REQUEST_SECONDS = 8.0  # of a single request
REACH_SECONDS = 15.0  # for a whole check: a request's own timeout does not cover looking up the host's name


def failure_of(ask: Callable[[], object]) -> Exception | None:
    """Make a request in a thread that is given up on when it takes longer than `REACH_SECONDS`.

    Args:
        ask: Makes the request.

    Returns:
        What went wrong, a `TimeoutError` where it took too long; None where nothing did.
    """
    failures: list[Exception] = [TimeoutError()]

    def run() -> None:
        try:
            ask()
            failures.clear()
        except Exception as error:  # whatever the network throws
            failures[0] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(REACH_SECONDS)
    return failures[0] if failures else None
