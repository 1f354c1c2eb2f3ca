"""Presets: sizes of a model and lengths of its training, chosen by the corpus and the device.

A preset is a file in `configs/presets/`. It holds settings as any config does, others for `many_labels`, and a
`schedule`, from which the steps follow, and what depends on them.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Any, NamedTuple

import yaml

from textadv.errors import InputError
from textadv.settings import EncoderSettings, Experiment, TokenizerSettings
from textadv.system.configs import FOLDER

ENOUGH_FOR_BASE, ENOUGH_FOR_PAPER = 3_000_000, 10_000_000  # tokens
SMALLEST = "small"
TRANSFORMER = "transformer"  # whatever the corpus and the device
USUAL_LABELS, MANY_LABELS = 1000, 5000
PRETRAINING_VALIDATIONS, FINETUNING_VALIDATIONS = 8, 10
HEAD = frozenset({"model.head_size", "model.head_activation", "finetuning.head_start"})  # one decides for all
FINAL_LEARNING_RATE = 0.05  # as a share of that of the first step


@dataclass(frozen=True)
class Schedule:
    """How long a preset trains.

    Attributes:
        text_passes: Passes of the language model over all training and unlabeled text.
        least_pretraining_steps: Of little text the passes are more.
        most_pretraining_steps: Of much text they are fewer.
        label_passes: Passes of fine-tuning over 1,000 labels; over n labels, sqrt(1,000 / n) times as many.
        ramp: Share of the steps of fine-tuning over which the terms beside the labeled loss rise.
    """

    text_passes: float
    least_pretraining_steps: int
    most_pretraining_steps: int
    label_passes: float
    ramp: float

    def pretraining_steps(self, tokens: int, tokens_per_step: int) -> int:
        """Steps of the language model."""
        steps = ceil(self.text_passes * tokens / tokens_per_step)
        return min(max(steps, self.least_pretraining_steps), self.most_pretraining_steps)

    def finetuning_steps(self, labels: int, batch_size: int) -> int:
        """Steps of fine-tuning."""
        return ceil(self.label_passes * sqrt(USUAL_LABELS * labels) / batch_size)


class Choice(NamedTuple):
    """A preset and why it is chosen."""

    name: str
    reason: str


def choose_preset(tokens: int, device: str) -> Choice:
    """Choose the preset for a corpus. The number of labels has no say in it: the steps follow from that.

    Args:
        tokens: Tokens of all training and unlabeled text.
        device: `cpu`, `cuda` or `mps`.

    Returns:
        The choice.
    """
    if tokens < ENOUGH_FOR_BASE:
        return Choice(SMALLEST, f"for less than {ENOUGH_FOR_BASE:,} tokens")
    if device != "cuda":
        return Choice("base", f"for {ENOUGH_FOR_BASE:,} tokens or more without a GPU")
    if tokens < ENOUGH_FOR_PAPER:
        return Choice("base", f"for {ENOUGH_FOR_BASE:,} to {ENOUGH_FOR_PAPER:,} tokens")
    return Choice("paper", f"for {ENOUGH_FOR_PAPER:,} tokens or more on a GPU")


def sized(experiment: Experiment, name: str, given: Set[str], tokens: int, labels: int) -> Experiment:
    """Put the values of a preset in the place of all settings that were not given.

    Args:
        experiment: With the settings that were given.
        name: Of the preset.
        given: Dotted names of these settings, such as `finetuning.epsilon`. Of the head, one stands for all.
        tokens: Tokens of all training and unlabeled text.
        labels: Labels that train the classifier.

    Returns:
        The experiment with the sizes of the preset and the steps for this corpus.

    Raises:
        InputError: There is no such preset.
    """
    content = _read(name)
    schedule = Schedule(**content.pop("schedule"))
    many = content.pop("many_labels", {})
    if not HEAD.isdisjoint(given):
        given = given | HEAD
    experiment = _filled(experiment, content, given)
    if labels >= MANY_LABELS:
        experiment = _filled(experiment, many, given)
    pretraining, finetuning = experiment.pretraining, experiment.finetuning
    width = experiment.tokenizer.max_tokens if experiment.model.is_transformer else pretraining.window
    steps = {
        "pretraining": {"steps": schedule.pretraining_steps(tokens, pretraining.batch_size * width)},
        "finetuning": {"steps": schedule.finetuning_steps(labels, finetuning.batch_size)},
    }
    experiment = _filled(experiment, steps, given)
    pretraining, finetuning = experiment.pretraining, experiment.finetuning
    following = {
        "pretraining": {
            "learning_rate_decay": FINAL_LEARNING_RATE ** (1 / pretraining.steps),
            "validate_every": ceil(pretraining.steps / PRETRAINING_VALIDATIONS),
        },
        "finetuning": {
            "learning_rate_decay": FINAL_LEARNING_RATE ** (1 / finetuning.steps),
            "ramp_steps": round(schedule.ramp * finetuning.steps),
            "validate_every": ceil(finetuning.steps / FINETUNING_VALIDATIONS),
            "patience": FINETUNING_VALIDATIONS,  # no early stopping: the learning rate falls until the last step
        },
    }
    return _filled(experiment, following, given)


def sized_tokenizer(tokenizer: TokenizerSettings, name: str | None, given: Set[str]) -> TokenizerSettings:
    """The tokenizer of a preset, which must be known before the tokens can be counted.

    Args:
        tokenizer: With the settings that were given.
        name: Of the preset; None for the tokenizer by whose tokens a preset is chosen.
        given: Dotted names of the settings that were given.

    Returns:
        The tokenizer with the values of the preset.

    Raises:
        InputError: There is no such preset.
    """
    values = {"tokenizer": _read(name or SMALLEST)["tokenizer"]}
    return _filled(Experiment(tokenizer=tokenizer), values, given).tokenizer


def beside_preset(
    model: EncoderSettings, name: str | None, given: Set[str] | None
) -> tuple[str | None, Set[str] | None]:
    """Which preset is used, and what it leaves as it is.

    Args:
        model: The encoder. A pretrained Transformer has a preset of its own.
        name: Of the preset, if one was named.
        given: Dotted names of the settings that were given; None where a config has given all of them.

    Returns:
        The name, None where the corpus and the device choose; and `given`, None where no preset is used.

    Raises:
        InputError: A preset was named that cannot be used.
    """
    if name is not None and given is None:
        raise InputError(f"--preset {name}: cannot be used, as --config has sizes of its own")
    if name is not None and (name == TRANSFORMER) != model.is_transformer:
        owned = f"only --preset {TRANSFORMER}" if model.is_transformer else f"any but --preset {TRANSFORMER}"
        raise InputError(f"--preset {name}: --model.encoder {model.encoder} takes {owned}")
    return TRANSFORMER if model.is_transformer else name, given


def _filled(experiment: Experiment, values: Mapping[str, Mapping[str, Any]], given: Set[str]) -> Experiment:
    """Set the values of some sections, but for those that were given."""
    sections = {}
    for section, content in values.items():
        new = {name: value for name, value in content.items() if f"{section}.{name}" not in given}
        sections[section] = replace(getattr(experiment, section), **new)
    return replace(experiment, **sections)


def _read(name: str) -> dict[str, Any]:
    """The content of a preset's file.

    Raises:
        InputError: There is no such preset.
    """
    names = [path.stem for path in sorted(FOLDER.glob("presets/*.yaml"))]
    if name not in names:
        raise InputError(f"--preset {name}: no such preset; there are {', '.join(names)}")
    content: dict[str, Any] = yaml.safe_load((FOLDER / "presets" / f"{name}.yaml").read_text(encoding="utf-8"))
    return content
