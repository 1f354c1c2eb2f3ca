from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pytorch_lightning.accelerators import CUDAAccelerator

from textadv import cli
from textadv.errors import InputError
from textadv.precision import TF32_BACKENDS, allow_tf32, full_precision, without_autocast

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def tf32() -> list[str]:
    """Of products, LSTMs and convolutions."""
    return [backend.fp32_precision for backend in TF32_BACKENDS]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before, older = tf32(), torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32 = older
    for backend, precision in zip(TF32_BACKENDS, before, strict=True):
        backend.fp32_precision = precision


@pytest.mark.parametrize("allowed", [False, True])
def test_full_precision_is_for_a_while(allowed: bool) -> None:
    allow_tf32(allowed)
    chosen = ["tf32" if allowed else "ieee"] * 3
    assert tf32() == chosen
    with full_precision(CUDA):
        assert tf32() == ["ieee"] * 3
    with pytest.raises(RuntimeError), full_precision(CUDA):
        torch.ones(2) @ torch.ones(3)
    assert tf32() == chosen


@pytest.mark.parametrize(("allowed", "name"), [(True, "high"), (False, "highest")])
def test_those_who_ask_for_the_older_name_are_answered(allowed: bool, name: str) -> None:
    """Lightning, as it starts on a GPU, and torch's compiler."""
    allow_tf32(not allowed)
    allow_tf32(allowed)
    assert torch.get_float32_matmul_precision() == name
    with full_precision(CUDA):
        torch.get_float32_matmul_precision()
    assert torch.get_float32_matmul_precision() == name


def test_lightning_starts_on_a_gpu_that_has_tensorfloat_32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_fabric.accelerators.cuda._is_ampere_or_later", lambda _: True)
    for name, answer in (("is_available", True), ("get_device_name", "GPU"), ("set_device", None)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    allow_tf32(True)
    CUDAAccelerator().setup_device(CUDA)


def test_a_cpu_has_autocast_only_and_its_settings_are_left_alone() -> None:
    """Those of the user, too, in whichever way they were set."""
    x = torch.full((2, 2), 1 + 2**-20)
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(CPU):
            assert tf32()[0] == "tf32"
            assert torch.equal(x @ torch.eye(2), x)
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
    assert tf32() == ["tf32" if allowed else "ieee"] * 3


def test_evaluate_takes_the_config_of_any_training(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("trainer: {precision: 64-true}")
    _, settings = cli.parse(["evaluate", "--checkpoint", "run", "--config", str(tmp_path / "config.yaml")])
    assert settings["trainer"].precision == "64-true"
