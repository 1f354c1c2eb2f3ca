"""Where a run computes, and process-wide settings that make the CPU fast, and its results those of every run."""

import ctypes
import os
import sys
from collections.abc import Callable

import torch

from textadv.errors import InputError
from textadv.settings import DeviceSettings

PRIMITIVES = "8"  # with 32, memory still grew by 2 to 5 % after step 50 of 500, at the same speed
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
VECTOR_FUNCTIONS = (torch.exp, torch.expm1, torch.log, torch.log1p, torch.sqrt, torch.tanh)  # of MKL, in use here


def device(trainer: DeviceSettings) -> str:
    """The kind of device that training and everything else computes on: `cpu`, `cuda` or `mps`.

    Lightning's own `auto` would take Apple's MPS, on which nothing is tested; here that must be asked for.

    Args:
        trainer: Its `accelerator` decides.

    Raises:
        InputError: This machine has no such device.
    """
    if trainer.accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = "cuda" if trainer.accelerator == "gpu" else trainer.accelerator
    checks: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if kind in checks and not checks[kind]():
        raise InputError(f"--trainer.accelerator {trainer.accelerator}: torch finds no {kind} device on this machine")
    return kind


def prepare_machine() -> None:
    """Keep freed memory, bound oneDNN's cache, flush denormal numbers to zero, and have MKL choose its kernels.

    glibc gives large freed buffers back to the kernel; taking the pages again for every activation halves the
    speed of an LSTM on the CPU. Elsewhere than on glibc the allocator is left alone. oneDNN keeps what it has compiled
    for each of the last 1,024 shapes, some megabytes for each length of a batch: gigabytes after some hundred steps.
    MKL chooses the kernel of a vector function at its first call, and where two threads make it at once, one of them
    may get a coarse one, with errors of 1e-5 (github.com/pytorch/pytorch/issues/188792): 21 of 269 starts gave a
    language model other biases, and so other losses. So the first calls are made here, by one thread.
    To be called before the first operation on a tensor.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", PRIMITIVES)
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 1 << 30)
            mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    for function in VECTOR_FUNCTIONS:
        for kind in (torch.float32, torch.float64):
            function(torch.ones(1, dtype=kind))
