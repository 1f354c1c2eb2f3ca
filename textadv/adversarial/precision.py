"""Numbers in float64, wherever they are computed."""

from torch import Tensor


def in_float64(x: Tensor) -> Tensor:
    """A tensor in float64, on its device, or on the CPU where that device has no float64: Apple's MPS.

    Args:
        x: Of any shape; small, as a copy to the CPU waits for the device.

    Returns:
        The same numbers.
    """
    return (x.cpu() if x.device.type == "mps" else x).double()
