"""Weights of classes in the labeled losses, against sums by hand and against examples that are there several times."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textadv.adversarial.divergences import cross_entropy, kl_divergence
from textadv.corpus.batching import Batch
from textadv.corpus.store import TokenStore
from textadv.models.classifier import Classifier
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import Experiment
from textadv.training.finetuning import FinetuningModule
from textadv.training.objective import balanced_weights

LABELS = [0, 0, 0, 1]  # weights of 2 / 3 and 2
TERMS: dict[str, dict[str, Any]] = {
    "none": {"method": "none"},
    "adversarial": {"method": "adversarial", "adv_weight": 0.7},
    "random starts": {"method": "adversarial", "adversary": "mifgsm-linf"},
}


@pytest.fixture
def make(store: TokenStore, with_finetuning: Callable[..., Experiment]) -> Callable[..., FinetuningModule]:
    def make_module(shares: list[float] | None, **settings: Any) -> FinetuningModule:
        experiment = with_finetuning(dropout=0.0, window=100, **settings)
        torch.manual_seed(0)
        frequencies = torch.from_numpy(store.frequencies)
        classifier = build_classifier(experiment.model, build_encoder(experiment.model, frequencies), 2)
        module = FinetuningModule(classifier, experiment.finetuning, 0, {"classes": list(store.classes)}, shares)
        module.log = module.log_dict = lambda *a, **k: None  # type: ignore[method-assign,assignment]
        return module.double().train()

    return make_module


def documents(store: TokenStore, labels: list[int], rows: list[int]) -> Batch:
    found = [store.splits["train"].document(row) for row in rows]
    width = max(map(len, found))
    tokens = torch.tensor([np.pad(document, (0, width - len(document))).tolist() for document in found])
    return Batch(tokens, torch.tensor([len(document) for document in found]), torch.tensor(labels))


def step(module: FinetuningModule, **batches: Batch) -> tuple[Tensor, list[Tensor | None]]:
    loss = module.training_step(batches, 0)
    loss.backward()
    return loss.detach(), [p.grad for p in module.parameters()]


def test_the_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_sample_weight

    labels = torch.tensor([0, 2, 2, 1, 2, 0, 2, 2])
    found = balanced_weights(labels, torch.bincount(labels) / len(labels))
    assert found.tolist() == pytest.approx(compute_sample_weight("balanced", labels.numpy()))
    assert found.mean().item() == pytest.approx(1)


@pytest.mark.parametrize("name", TERMS)
def test_a_weight_counts_as_so_many_examples(make: Any, store: TokenStore, name: str) -> None:
    """Loss and gradients of 3 and 1 examples with weights are those of 3 and 3 without."""
    weighted, plain = make([0.75, 0.25], class_weights="balanced", **TERMS[name]), make(None, **TERMS[name])
    found = step(weighted, labeled=documents(store, LABELS, [0, 1, 3, 5]))
    expected = step(plain, labeled=documents(store, [*LABELS, 1, 1], [0, 1, 3, 5, 5, 5]))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=0)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-14)


def test_the_loss_is_that_of_the_formula(make: Any, store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights on both labeled losses, and none on the smoothness, which needs no label."""
    module = make([0.75, 0.25], class_weights="balanced", method="adversarial+vat", adv_weight=0.7, vat_weight=1.3)
    passes = []
    classify = Classifier.classify

    def recording(self: Classifier, embeddings: Tensor, lengths: Tensor) -> Tensor:
        passes.append(classify(self, embeddings, lengths))
        return passes[-1]

    monkeypatch.setattr(Classifier, "classify", recording)
    labeled = documents(store, LABELS, [0, 1, 3, 5])
    loss, _ = step(module, labeled=labeled, unlabeled=documents(store, [-1, -1], [7, 8]))
    clean, clean_u, perturbed, perturbed_u = passes
    weight = torch.tensor([2 / 3, 2 / 3, 2 / 3, 2.0])
    lds = torch.cat([kl_divergence(clean, perturbed), kl_divergence(clean_u, perturbed_u)]).mean()
    supervised = (weight * cross_entropy(clean, labeled.labels)).mean()
    adversarial = (weight * cross_entropy(perturbed, labeled.labels)).mean()
    torch.testing.assert_close(loss, supervised + 0.7 * adversarial + 1.3 * lds, rtol=1e-7, atol=0)


def test_even_classes_need_no_weights(make: Any, store: TokenStore) -> None:
    batches = {"labeled": documents(store, [0, 1], [0, 1]), "unlabeled": documents(store, [-1], [7])}
    found, expected = (step(make([0.5, 0.5], class_weights=one), **batches) for one in ("balanced", "none"))
    assert torch.equal(found[0], expected[0])
