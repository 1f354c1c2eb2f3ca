"""What is computed on."""

from dataclasses import dataclass
from typing import Literal

from textadv.errors import InputError
from textadv.system.ranges import Positive, Settings

LOGGERS = ("tensorboard", "csv", "wandb")


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
class EvaluationSettings(DeviceSettings):
    """The machine that measures a classifier.

    Attributes:
        precision: Lightning's name of the number format. `bf16-mixed` computes matrix products in bfloat16, also those
            of an LSTM on a CPU that has instructions for it; LSTMs elsewhere, and GRUs, stay in float32. `64-true` is
            for training alone.
    """

    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"


@dataclass
class TrainerSettings(EvaluationSettings):
    """The machine: passed on to Lightning's Trainer.

    Attributes:
        devices: Number of devices.
        num_nodes: Number of machines.
        logger: Where curves go besides `metrics.csv`: `tensorboard` (where it is installed), `csv` (as Lightning writes
            it), `wandb` (offline), several of them with commas between, or `none`.
    """

    devices: Positive = 1
    num_nodes: Positive = 1
    logger: str = "tensorboard"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.loggers:
            if name not in LOGGERS:
                raise InputError(f"--trainer.logger {self.logger}: {name!r} is none of {', '.join(LOGGERS)}, none")
        if len(set(self.loggers)) < len(self.loggers):
            raise InputError(f"--trainer.logger {self.logger}: names a logger twice")

    @property
    def loggers(self) -> list[str]:
        """The names in `logger`."""
        return [] if self.logger == "none" else [name.strip() for name in self.logger.split(",")]
