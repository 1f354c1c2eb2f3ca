"""Presets: which one is chosen, what it leaves alone, and how the steps follow from the corpus."""

import re
from collections.abc import Set
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import yaml

from textadv import cli
from textadv.errors import InputError
from textadv.presets import (
    FINAL_LEARNING_RATE,
    FOLDER,
    USUAL_LABELS,
    beside_preset,
    choose_preset,
    sized,
    sized_tokenizer,
)
from textadv.settings import EncoderSettings, Experiment, ModelSettings, TokenizerSettings

ROOT = Path(__file__).parents[1]
NAMES = ("base", "paper", "small", "transformer")
NOTHING: Set[str] = frozenset()


@pytest.mark.parametrize(
    ("tokens", "device", "name"),
    [
        (1, "cpu", "small"),
        (2_999_999, "cuda", "small"),
        (3_000_000, "cpu", "base"),
        (3_000_000, "cuda", "base"),
        (10_000_000, "cuda", "paper"),
        (10**10, "cpu", "base"),
        (10**10, "mps", "base"),
    ],
)
def test_the_preset_follows_from_the_tokens_and_the_device(tokens: int, device: str, name: str) -> None:
    choice = choose_preset(tokens, device)
    assert choice.name == name
    assert "tokens" in choice.reason


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_sets_only_what_its_file_and_its_schedule_say(name: str) -> None:
    content = yaml.safe_load((FOLDER / "presets" / f"{name}.yaml").read_text())
    assert content.keys() - {"many_labels"} == {"tokenizer", "model", "pretraining", "finetuning", "schedule"}
    assert len((FOLDER / "presets" / f"{name}.yaml").read_text().splitlines()) < 40
    experiment = sized(Experiment(), name, NOTHING, 5_000_000, 400)
    for section in ("tokenizer", "model", "pretraining", "finetuning"):
        found = vars(getattr(experiment, section))
        assert {key: found[key] for key in content[section]} == content[section]
    assert (experiment.data, experiment.trainer, experiment.seed) == (Experiment().data, Experiment().trainer, 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("section", ["tokenizer", "model", "pretraining", "finetuning"])
def test_what_was_given_stays(name: str, section: str) -> None:
    """Also where it is the default."""
    defaults = Experiment()
    given = {f"{section}.{key}" for key in vars(getattr(defaults, section))}
    experiment = sized(defaults, name, given, 1_000_000, 200)
    assert getattr(experiment, section) == getattr(defaults, section)
    assert experiment != defaults  # all else is the preset's


@pytest.mark.parametrize(
    ("model", "finetuning"),
    [
        ({"head_size": 20}, {}),
        ({"head_size": 0}, {}),
        ({"head_activation": "relu"}, {}),
        ({}, {"head_start": "random"}),
    ],
)
def test_the_settings_of_the_head_go_together(model: dict[str, Any], finetuning: dict[str, Any]) -> None:
    """A hidden layer has no probe to start from, and a random head need not be linear."""
    start = Experiment()
    start = replace(start, model=replace(start.model, **model), finetuning=replace(start.finetuning, **finetuning))
    given = {*(f"model.{key}" for key in model), *(f"finetuning.{key}" for key in finetuning)}
    found = sized(start, "small", given, 10**6, 200)
    assert (found.model.head_size, found.finetuning.head_start) == (start.model.head_size, "random")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("section", "validations"), [("pretraining", 8), ("finetuning", 10)])
def test_what_depends_on_the_steps_follows_given_ones(name: str, section: str, validations: int) -> None:
    for steps in (10, 5000):
        start = replace(Experiment(), **{section: replace(getattr(Experiment(), section), steps=steps)})
        found: Any = getattr(sized(start, name, {f"{section}.steps"}, 10**6, 200), section)
        assert found.steps == steps
        assert found.learning_rate_decay**steps == pytest.approx(FINAL_LEARNING_RATE)
        assert found.validate_every == ceil(steps / validations)
        assert section == "pretraining" or found.ramp_steps <= steps / 4


@pytest.mark.parametrize("name", NAMES)
def test_steps_follow_from_the_tokens_and_the_labels(name: str) -> None:
    schedule = yaml.safe_load((FOLDER / "presets" / f"{name}.yaml").read_text())["schedule"]

    def steps(tokens: int, labels: int) -> tuple[int, int]:
        experiment = sized(Experiment(), name, NOTHING, tokens, labels)
        return experiment.pretraining.steps, experiment.finetuning.steps

    assert steps(1, 200)[0] == schedule["least_pretraining_steps"]
    assert steps(10**12, 200)[0] == schedule["most_pretraining_steps"]
    batch = sized(Experiment(), name, NOTHING, 1, 200)
    per_step = batch.pretraining.batch_size * batch.pretraining.window
    assert steps(2000 * per_step, 1000)[0] == min(2000 * schedule["text_passes"], schedule["most_pretraining_steps"])
    passes = {n: steps(10**6, n)[1] * batch.finetuning.batch_size / n for n in (100, 1000, 100_000)}
    assert passes[1000] == pytest.approx(schedule["label_passes"], rel=0.05)
    assert passes[100] == pytest.approx(schedule["label_passes"] * 10**0.5, rel=0.1)
    assert passes[100_000] == pytest.approx(schedule["label_passes"] / 10, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_many_labels_want_settings_of_their_own(name: str) -> None:
    content = yaml.safe_load((FOLDER / "presets" / f"{name}.yaml").read_text())
    few, many = (sized(Experiment(), name, NOTHING, 10**6, labels) for labels in (4999, 5000))
    for section in ("model", "finetuning"):
        changed = content.get("many_labels", {}).get(section, {})
        for key, value in (content[section] | changed).items():
            assert getattr(getattr(few, section), key) == content[section].get(key, value)
            assert getattr(getattr(many, section), key) == value
    assert many.finetuning.epsilon == (5.0 if name == "paper" else 2.0)
    assert sized(Experiment(), name, {"finetuning.epsilon"}, 10**6, 5000).finetuning.epsilon == 5.0


def test_the_base_preset_has_a_probe_for_few_labels_and_all_outputs_for_many() -> None:
    few, many = (sized(Experiment(), "base", NOTHING, 10**7, labels) for labels in (4999, 5000))
    assert (few.model.pooling, few.model.head_size, few.finetuning.head_start) == ("mean", 0, "probe")
    assert (many.model.pooling, many.model.head_size, many.finetuning.head_start) == ("last_mean_max", 30, "random")
    kept = sized(Experiment(), "base", {"finetuning.head_start"}, 10**7, 5000)
    assert (kept.model.head_size, kept.finetuning.head_start) == (30, "random")


def test_the_document_has_the_passes_of_each_preset() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs/OWN_DATA.md").read_text().splitlines() if line[:3] == "| `"]
    described = {row[0].strip("|` "): (row[3], row[4]) for row in rows}
    for name in NAMES:
        schedule = yaml.safe_load((FOLDER / "presets" / f"{name}.yaml").read_text())["schedule"]
        text, labels = described[name]
        least, most = schedule["least_pretraining_steps"], schedule["most_pretraining_steps"]
        passes = rf"\b{schedule['text_passes']} pass(es)?( over the text)?, {least:,} to {most:,} steps"
        assert re.search(passes, text), name
        assert labels.startswith(f"{schedule['label_passes']} passes over {USUAL_LABELS:,} labels"), name


def test_a_larger_batch_needs_fewer_steps() -> None:
    start = Experiment()
    start = replace(start, finetuning=replace(start.finetuning, batch_size=320))
    given = {"finetuning.batch_size"}
    few, many = (sized(start, "small", names, 10**6, 1000).finetuning.steps for names in (given, NOTHING))
    assert few == pytest.approx(many / 10, rel=0.05)


def test_the_base_preset_has_the_budget_of_the_small_imdb_configs() -> None:
    """Which were chosen by hand: 20.6 million tokens, 1,000 labels or 21,148."""
    config = cli.parse(["finetune", "--config", "imdb/small_1000_labels"])[1]["experiment"]
    preset = sized(Experiment(), "base", NOTHING, 20_600_000, 1000)
    assert preset.pretraining.steps == pytest.approx(config.pretraining.steps, rel=0.1)
    labels = config.finetuning.steps * config.finetuning.batch_size
    assert preset.finetuning.steps * preset.finetuning.batch_size == pytest.approx(labels, rel=0.2)
    config = cli.parse(["finetune", "--config", "imdb/small"])[1]["experiment"]
    preset = sized(Experiment(), "base", NOTHING, 20_600_000, 21_148)
    assert preset.finetuning.epsilon == config.finetuning.epsilon
    labels = config.finetuning.steps * config.finetuning.batch_size
    assert preset.finetuning.steps * preset.finetuning.batch_size == pytest.approx(labels, rel=0.2)


def test_the_tokenizer_is_that_of_the_preset() -> None:
    """Small and base share it: which of them is chosen depends on the tokens, and these on the tokenizer."""
    default = TokenizerSettings()
    small, base, paper = (sized_tokenizer(default, name, NOTHING) for name in ("small", "base", "paper"))
    assert sized_tokenizer(default, None, NOTHING) == small == base
    assert paper == default
    assert sized_tokenizer(default, "small", {"tokenizer.lowercase"}) == replace(small, lowercase=False)


@pytest.mark.parametrize("name", ["tiny", "", "../quickstart", "presets/small"])
def test_another_preset_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no such preset; there are base, paper, small, transformer"):
        sized(Experiment(), name, NOTHING, 1, 1)


def test_a_config_has_sizes_of_its_own_and_a_transformer_a_preset() -> None:
    lstm, transformer = EncoderSettings(), EncoderSettings("transformer", "folder")
    assert beside_preset(lstm, None, {"seed"}) == (None, {"seed"})
    assert beside_preset(lstm, "small", {"seed"}) == ("small", {"seed"})
    assert beside_preset(lstm, None, None)[1] is beside_preset(transformer, None, None)[1] is None
    for name in (None, "transformer"):
        assert beside_preset(transformer, name, {"seed"}) == ("transformer", {"seed"})
    with pytest.raises(InputError, match="--preset small: cannot be used, as --config has"):
        beside_preset(lstm, "small", None)
    with pytest.raises(InputError, match=r"small: --model\.encoder transformer takes only --preset transformer"):
        beside_preset(transformer, "small", {"seed"})
    with pytest.raises(InputError, match=r"transformer: --model\.encoder lstm takes any but --preset transformer"):
        beside_preset(lstm, "transformer", {"seed"})


def test_a_transformers_passes_over_the_text_are_counted_in_documents_of_full_length() -> None:
    model = ModelSettings("transformer", "folder")
    experiment = sized(Experiment(model=model), "transformer", NOTHING, 2000 * 32 * 128, 1000)
    assert (experiment.pretraining.steps, experiment.finetuning.steps) == (2000, 938)


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["--data.train", "a", "--finetuning.epsilon", "5.0"], {"data.train", "finetuning.epsilon"}),
        (["--model", '{"hidden_size": 1024}', "--seed=0"], {"model.hidden_size", "seed"}),
        (["--data.keep_duplicates", "--resume"], {"data.keep_duplicates", "resume"}),
        ([], set()),
        (["--config", "quickstart", "--seed", "3"], None),
    ],
)
def test_the_command_line_tells_what_was_given(arguments: list[str], given: set[str] | None) -> None:
    assert cli.parse(["finetune", *arguments])[1]["given"] == given
