from collections.abc import Iterator

import pytest
import torch

from textadv import cli
from textadv.errors import InputError
from textadv.precision import allow_tf32, full_precision, without_autocast

CPU = torch.device("cpu")


def tf32() -> tuple[bool, bool]:
    """Of products and of LSTMs."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = tf32()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("allowed", [False, True])
def test_full_precision_is_for_a_while(allowed: bool) -> None:
    allow_tf32(allowed)
    x = torch.full((2, 2), 1 + 2**-20)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(CPU):
            assert tf32() == (False, False)
            assert torch.equal(x @ torch.eye(2), x)
        with pytest.raises(RuntimeError), full_precision(CPU):
            torch.ones(2) @ torch.ones(3)
        assert tf32() == (allowed, allowed)
        assert not torch.equal(x @ torch.eye(2), x)


def test_a_device_that_has_no_autocast() -> None:
    with without_autocast(torch.device("meta")):
        assert (torch.ones(2, 2, device="meta") @ torch.ones(2, 2, device="meta")).shape == (2, 2)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_command_sets_what_is_chosen(monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
    """The defaults of torch differ between products and LSTMs."""
    monkeypatch.setattr("textadv.system.machine.prepare_machine", lambda: None)
    allow_tf32(not allowed)
    with pytest.raises(InputError, match="no such checkpoint"):
        cli.run(["evaluate", "--checkpoint", "nowhere", "--trainer.tf32", str(allowed).lower()])
    assert tf32() == (allowed, allowed)
