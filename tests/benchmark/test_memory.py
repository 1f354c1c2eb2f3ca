import runpy
import sys

import pytest

from textadv.benchmark import memory


def test_a_system_without_the_module_resource_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert runpy.run_path(memory.__file__)["peak_memory"]("cpu") == 0
