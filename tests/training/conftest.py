from collections.abc import Callable
from dataclasses import replace

import pytest

from textadv.corpus.store import TokenStore
from textadv.settings import (
    Experiment,
    FinetuningSettings,
    ModelSettings,
    PretrainingSettings,
    TrainerSettings,
)


@pytest.fixture
def store(make_store: Callable[..., TokenStore]) -> TokenStore:
    return make_store()


@pytest.fixture
def experiment() -> Experiment:
    """Tiny sizes; every kind of step runs in milliseconds."""
    return Experiment(
        model=ModelSettings(embedding_size=5, hidden_size=6, pooling="last_mean_max", head_size=4),
        pretraining=PretrainingSettings(
            steps=6, batch_size=3, window=4, candidates=20, dropout=0.2, learning_rate=0.01, validate_every=3
        ),
        finetuning=FinetuningSettings(
            epsilon=0.5, steps=6, batch_size=4, unlabeled_batch_size=5, window=4, dropout=0.3, validate_every=3
        ),
        trainer=TrainerSettings(accelerator="cpu"),
    )


@pytest.fixture
def with_finetuning(experiment: Experiment) -> Callable[..., Experiment]:
    def change(**settings: object) -> Experiment:
        return replace(experiment, finetuning=replace(experiment.finetuning, **settings))

    return change
