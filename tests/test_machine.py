import pytest

from textadv import machine


@pytest.mark.parametrize(("given", "expected"), [(None, machine.PRIMITIVES), ("7", "7")])
def test_bounds_the_cache_of_onednn_unless_the_user_does(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    environment = {} if given is None else {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": given}
    monkeypatch.setattr(machine.os, "environ", environment)
    machine.prepare_machine()
    assert environment == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": expected}
