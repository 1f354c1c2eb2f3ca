import threading
import time

import pytest

from textadv.system import network


def test_a_request_that_succeeds_has_no_failure() -> None:
    assert network.failure_of(lambda: 1) is None


def test_what_the_request_raises_is_the_failure() -> None:
    error = OSError("no route to host")

    def ask() -> None:
        raise error

    assert network.failure_of(ask) is error


def test_a_request_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "REACH_SECONDS", 0.05)
    released = threading.Event()
    started = time.perf_counter()
    assert isinstance(network.failure_of(lambda: released.wait(30)), TimeoutError)
    assert time.perf_counter() - started < 10
    released.set()
