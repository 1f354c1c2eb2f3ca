"""A step's random numbers come from its own generators, and from nowhere else."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from textadv.corpus.datamodules import FinetuningData, PretrainingData
from textadv.corpus.store import TokenStore
from textadv.draws import uniform
from textadv.models.factory import build_classifier, build_encoder
from textadv.models.language_model import LanguageModel
from textadv.settings import Experiment
from textadv.training.base import TrainingModule
from textadv.training.finetuning import FinetuningModule
from textadv.training.pretraining import PretrainingModule

METHODS: list[dict[str, Any]] = [
    {"method": "none", "entropy_weight": 0.5},
    {"method": "random"},
    {"method": "vat"},
    {"method": "vat", "vat_direction": "power_iteration"},
    {"method": "vat", "vat_target": 0.01, "balance_weight": 0.5, "pseudo_label_weight": 1.0},
    {"method": "adversarial", "adversary": "rfgsm-l2"},
    {"method": "adversarial", "adversary": "pgd-l2"},
    {"method": "adversarial", "adversary": "pgd-linf", "num_restarts": 2},
    {"method": "adversarial+vat", "adversary": "interpretable-l2", "num_neighbours": 3},
]


def finetuning(experiment: Experiment, store: TokenStore) -> tuple[TrainingModule, Any]:
    settings = experiment.finetuning
    encoder = build_encoder(experiment.model, torch.from_numpy(store.frequencies), settings.dropout)
    classifier = build_classifier(experiment.model, encoder, 2)
    module = FinetuningModule(classifier, settings, experiment.seed, {"classes": list(store.classes)})
    return module, next(iter(FinetuningData(store, experiment.data, settings, 0).train_dataloader()))


def pretraining(experiment: Experiment, store: TokenStore) -> tuple[TrainingModule, Any]:
    settings = experiment.pretraining
    encoder = build_encoder(experiment.model, torch.from_numpy(store.frequencies), settings.dropout)
    module = PretrainingModule(LanguageModel(encoder), settings, experiment.seed, {})
    return module, next(iter(PretrainingData(store, experiment.model, settings, 0).train_dataloader()))


def attach(module: TrainingModule, step: int = 3) -> None:
    """To a trainer, as far as a step looks at it."""
    module.trainer = SimpleNamespace(world_size=1, global_step=step)  # type: ignore[assignment]
    module.log = module.log_dict = lambda *a, **k: None  # type: ignore[method-assign,assignment]


def losses(module: TrainingModule, batch: Any) -> list[float]:
    """Of one step under several global seeds, none of which it may change."""
    attach(module.train())
    found = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        module.on_train_batch_start(batch, 0)
        loss: Tensor = module.training_step(batch, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        found.append(loss.item())
        assert torch.equal(torch.get_rng_state(), state)
    return found


@pytest.mark.parametrize("settings", METHODS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_finetuning_leaves_the_global_random_state_alone(
    with_finetuning: Callable[..., Experiment], store: TokenStore, settings: dict[str, Any]
) -> None:
    module, batch = finetuning(with_finetuning(**settings), store)
    assert len(set(losses(module, batch))) == 1
    attach(module, step=4)
    assert module.training_step(batch, 0).item() != losses(module, batch)[0]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_pretraining_leaves_the_global_random_state_alone(
    experiment: Experiment, store: TokenStore, bidirectional: bool
) -> None:
    model = replace(experiment.model, bidirectional=bidirectional)
    module, batch = pretraining(replace(experiment, model=model), store)
    assert len(set(losses(module, batch))) == 1


def test_numbers_depend_on_seed_step_and_batch(experiment: Experiment, store: TokenStore) -> None:
    rows, found = torch.zeros(4, 3), {}
    for seed in (0, 1):
        module, _ = finetuning(replace(experiment, seed=seed), store)
        for step in (0, 1):
            attach(module, step)
            for name in ("labeled", "unlabeled"):
                found[seed, step, name] = numbers = uniform(rows, module.generator(name))
                assert torch.equal(numbers, uniform(rows, module.generator(name)))
    assert len(torch.stack(list(found.values())).flatten().unique()) == 8 * rows.numel()
