"""Every setting of an experiment, typed, with its range: the schema of the YAML files and of the flags."""

from dataclasses import dataclass, field

from textadv.errors import InputError
from textadv.settings.attack import AttackSettings
from textadv.settings.data import ColumnSettings, DataSettings, TokenizerSettings, Truncation
from textadv.settings.machine import DeviceSettings, EvaluationSettings, TrainerSettings
from textadv.settings.model import EncoderSettings, ModelSettings
from textadv.settings.training import FinetuningSettings, Method, PretrainingSettings
from textadv.system.ranges import Settings

__all__ = [
    "AttackSettings",
    "ColumnSettings",
    "DataSettings",
    "DeviceSettings",
    "EncoderSettings",
    "EvaluationSettings",
    "Experiment",
    "FinetuningSettings",
    "Method",
    "ModelSettings",
    "PretrainingSettings",
    "TokenizerSettings",
    "TrainerSettings",
    "Truncation",
]


@dataclass
class Experiment(Settings):
    """One experiment: what every YAML file under `configs/` holds.

    Attributes:
        seed: Seed of initial weights, data order and dropout.
    """

    data: DataSettings = field(default_factory=DataSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    pretraining: PretrainingSettings = field(default_factory=PretrainingSettings)
    finetuning: FinetuningSettings = field(default_factory=FinetuningSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finetuning.head_start == "probe" and self.model.head_size:
            raise InputError("--finetuning.head_start probe: needs a linear head, --model.head_size 0")
