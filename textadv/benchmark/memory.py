"""Memory of this process."""

import resource
import sys

import torch


def peak_memory(device: str) -> float:
    """Most memory in use so far.

    Args:
        device: `cuda` for the device's memory, else that of the process.

    Returns:
        Bytes.
    """
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
