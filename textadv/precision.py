"""Number formats: where autocast and TensorFloat-32 are kept out, whatever they are set to elsewhere."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

# Matrix products, recurrent layers and convolutions.
TF32_BACKENDS: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.rnn,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
)


def autocast(device: str, precision: str) -> AbstractContextManager[object]:
    """Compute as Lightning does in a training of the same precision.

    Args:
        device: Where the tensors are, such as `cuda`.
        precision: `bf16-mixed`: matrix products in bfloat16; any other: in the number format of the tensors.

    Returns:
        The context.
    """
    return torch.autocast(torch.device(device).type, torch.bfloat16) if precision == "bf16-mixed" else nullcontext()


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Compute in the number format of the tensors, on any kind of device.

    Args:
        device: Where the tensors are. `torch.autocast` itself refuses devices that have no autocast.

    Returns:
        The context.
    """
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def computes_in_float16(x: torch.Tensor) -> bool:
    """Whether numbers below 6e-8 become 0 in what is computed from a tensor: it has float16, or autocast has.

    Args:
        x: Of any shape.
    """
    kind = x.device.type
    is_autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.float16 in (x.dtype, torch.get_autocast_dtype(kind) if is_autocast else None)


def lstm_in_bfloat16(device: torch.device) -> bool:
    """Whether autocast may reach an LSTM: on CPUs with instructions for bfloat16.

    oneDNN's LSTM takes twice the time of float32's without these instructions, and fails without AVX-512. cuDNN's would
    run in float16, also where autocast is asked for bfloat16.

    Args:
        device: Where the LSTM is.
    """
    return (
        device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and torch.cpu._is_avx512_bf16_supported()
    )


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute float32 in full: neither autocast nor TensorFloat-32, whose ten bits lose small finite differences.

    Args:
        device: Where the tensors are.
    """
    backends = TF32_BACKENDS if device.type == "cuda" else ()  # no other device has TensorFloat-32
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with without_autocast(device):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def allow_tf32(allowed: bool) -> None:
    """Choose how NVIDIA GPUs multiply float32 matrices, in products and in LSTMs alike.

    Args:
        allowed: With TensorFloat-32, which keeps ten of the 23 bits of a factor and is several times as fast.
    """
    for backend in TF32_BACKENDS:
        backend.fp32_precision = "tf32" if allowed else "ieee"
    # Its older name, too: Lightning and torch's compiler ask for that, which is an error where the two differ.
    torch.backends.cuda.matmul.allow_tf32 = allowed


def in_float64(x: torch.Tensor) -> torch.Tensor:
    """A tensor in float64, on its device, or on the CPU where that device has no float64: Apple's MPS.

    Args:
        x: Of any shape; small, as a copy to the CPU waits for the device.

    Returns:
        The same numbers.
    """
    return (x.cpu() if x.device.type == "mps" else x).double()
