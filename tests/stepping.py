"""A fine-tuning module, and one step of it looked at from within."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.store import TokenStore
from textadv.models.classifier import Classifier
from textadv.settings import Experiment
from textadv.training import finetuning, objective
from textadv.training.finetuning import FinetuningModule

Make = Callable[..., FinetuningModule]


def step(module: FinetuningModule, store: TokenStore, unlabeled: bool = True) -> Tensor:
    data = FinetuningData(store, Experiment().data, module.settings, 0)
    batch = next(iter(data.train_dataloader()))
    assert ("unlabeled" in batch) == module.settings.uses_unlabeled
    return module.training_step(batch, 0)


def gradients(module: FinetuningModule, loss: Tensor) -> list[Tensor | None]:
    module.zero_grad()
    loss.backward()
    return [p.grad for p in module.parameters()]


def record_passes(module: FinetuningModule, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Embeddings, lengths and logits of every call of `classify`."""
    calls: list[tuple[Tensor, Tensor, Tensor]] = []
    classify = Classifier.classify

    def recording(self: Classifier, embeddings: Tensor, lengths: Tensor) -> Tensor:
        logits = classify(self, embeddings, lengths)
        calls.append((embeddings, lengths, logits))
        return logits

    monkeypatch.setattr(Classifier, "classify", recording)
    return calls


def terms_of(module: FinetuningModule, store: TokenStore) -> tuple[dict[str, Tensor], int]:
    """All terms of the first step, and the number of its labeled examples."""
    found: dict[str, Tensor] = {}

    def spy(*arguments: Any) -> dict[str, Tensor]:
        found.update(objective.objective(*arguments))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "objective", spy)
        step(module, store)
    return found, len(found["cross_entropy"])
