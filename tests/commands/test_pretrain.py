"""Which settings share an encoder."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from textadv.commands.pretrained import pretrained_encoder
from textadv.corpus.store import TokenStore
from textadv.settings import Experiment, ModelSettings, PretrainingSettings
from textadv.training import runs

Place = Callable[[Experiment], Path]


@pytest.fixture
def place(store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where the encoder of an experiment is looked for."""
    monkeypatch.setattr(runs, "pretrain", lambda *arguments: {})

    def find(experiment: Experiment) -> Path:
        data = replace(experiment.data, cache=str(tmp_path / "cache"))
        return pretrained_encoder(replace(experiment, data=data), store)

    return find


def another(value: Any) -> Any:
    """Any other value of the same kind."""
    if isinstance(value, str):
        return f"other than {value}"
    if isinstance(value, float):
        return (value + 1) / 4  # a dropout is below 1
    return not value if isinstance(value, bool) else value + 1


@pytest.mark.parametrize("name", [field.name for field in fields(ModelSettings)])
def test_a_setting_of_the_model_is_the_classifiers_or_the_encoders(
    place: Place, experiment: Experiment, name: str
) -> None:
    if name in ("pretrained", "frozen_layers", "checkpointing", "windows"):
        pytest.skip("of a Transformer only, which has a masked language model")
    choices = {"pooling": "mean", "encoder": "gru"}
    other = choices[name] if name in choices else another(getattr(experiment.model, name))
    changed = replace(experiment.model, **{name: other})
    of_the_classifier = name in ("pooling", "head_size", "head_activation")
    assert (place(experiment) == place(replace(experiment, model=changed))) == of_the_classifier


@pytest.mark.parametrize("name", [field.name for field in fields(PretrainingSettings)])
def test_every_setting_of_the_pretraining_counts(place: Place, experiment: Experiment, name: str) -> None:
    changed = replace(experiment.pretraining, **{name: another(getattr(experiment.pretraining, name))})
    assert place(experiment) != place(replace(experiment, pretraining=changed))


@dataclass
class LargerSettings(ModelSettings):
    layers: int = 1


def test_a_setting_that_is_new_counts(place: Place, experiment: Experiment) -> None:
    """Without being listed anywhere."""
    one, two = (replace(experiment, model=LargerSettings(**asdict(experiment.model), layers=n)) for n in (1, 2))
    assert len({place(experiment), place(one), place(two)}) == 3


def test_what_else_counts(place: Place, experiment: Experiment) -> None:
    assert place(experiment) == place(replace(experiment, finetuning=replace(experiment.finetuning, epsilon=9.0)))
    assert place(experiment) != place(replace(experiment, seed=1))
    precise = replace(experiment.trainer, precision="64-true")
    assert place(experiment) != place(replace(experiment, trainer=precise))
