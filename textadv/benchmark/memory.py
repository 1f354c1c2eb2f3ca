"""Memory of this process."""

import sys
from pathlib import Path

import torch


def peak_memory(device: str) -> float:
    """Most memory in use so far.

    Args:
        device: `cuda` for the device's memory, else that of the process.

    Returns:
        Bytes; 0 on Windows, where Python does not know.
    """
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    if sys.platform == "linux":  # where ru_maxrss of a process that was started by a large one is that one's
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(float(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024
    if sys.platform == "win32":
        return 0.0
    import resource  # which Windows lacks

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
