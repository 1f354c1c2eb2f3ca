import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from textadv.errors import InputError
from textadv.settings import TrainerSettings
from textadv.system import machine

PACKAGE = Path(machine.__file__).parents[1]
# What torch has MKL compute, a part for each thread (aten/src/ATen/cpu/vml.h); and what calls them in turn.
OF_MKL = re.compile("acos|asin|atan|cosh?|erf(c|inv)?|exp(m1)?|lgamma|log(10|1p|2)?|sinh?|sqrt|tanh?")
INDIRECT = {"logsumexp": {"exp", "log"}, "Adam": {"sqrt"}}


@pytest.mark.parametrize(("given", "expected"), [(None, machine.PRIMITIVES), ("7", "7")])
def test_bounds_the_cache_of_onednn_unless_the_user_does(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    environment = {} if given is None else {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": given}
    monkeypatch.setattr(machine.os, "environ", environment)
    machine.prepare_machine()
    assert environment == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": expected}


def test_first_calls_of_vector_functions_are_made_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, torch.dtype]] = []
    monkeypatch.setattr(machine, "VECTOR_FUNCTIONS", (lambda tensor: calls.append((tensor.numel(), tensor.dtype)),))
    machine.prepare_machine()
    assert calls == [(1, torch.float32), (1, torch.float64)]


def test_all_vector_functions_in_use_are_among_them() -> None:
    used: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                on_numpy = isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "math")
                name = node.func.attr.removesuffix("_")
                used |= set() if on_numpy else INDIRECT.get(name, {name} if OF_MKL.fullmatch(name) else set())
    assert used == {function.__name__ for function in machine.VECTOR_FUNCTIONS}


@pytest.mark.parametrize(
    ("accelerator", "there", "expected"),
    [
        ("auto", {"cuda", "mps"}, "cuda"),
        ("auto", {"mps"}, "cpu"),  # untested, so it must be asked for
        ("auto", set(), "cpu"),
        ("cpu", {"cuda", "mps"}, "cpu"),
        ("gpu", {"cuda"}, "cuda"),
        ("gpu", {"mps"}, None),
        ("cuda", {"cuda"}, "cuda"),
        ("cuda", set(), None),
        ("mps", {"cuda", "mps"}, "mps"),
        ("mps", {"cuda"}, None),
    ],
)
def test_device(monkeypatch: pytest.MonkeyPatch, accelerator: Any, there: set[str], expected: str | None) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: "cuda" in there)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: "mps" in there)
    if expected is None:
        with pytest.raises(InputError, match=f"^--trainer.accelerator {accelerator}: torch finds no "):
            machine.device(TrainerSettings(accelerator))
    else:
        assert machine.device(TrainerSettings(accelerator)) == expected
