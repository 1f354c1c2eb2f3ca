"""What is computed on."""

from dataclasses import dataclass
from typing import Literal

from textadv.system.ranges import Positive, Settings


@dataclass
class DeviceSettings(Settings, section="trainer"):
    """The device that is computed on.

    Attributes:
        accelerator: Kind of device. `auto`: CUDA or else the CPU; `gpu`: CUDA; `mps`: Apple's, which is untested.
        tf32: On NVIDIA GPUs, multiply float32 matrices in TensorFloat-32, but never in power iterations.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    tf32: bool = True


@dataclass
class TrainerSettings(DeviceSettings):
    """The machine: passed on to Lightning's Trainer.

    Attributes:
        devices: Number of devices.
        num_nodes: Number of machines.
        precision: Lightning's name of the number format. In `bf16-mixed` only output layers compute in bfloat16.
    """

    devices: Positive = 1
    num_nodes: Positive = 1
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
