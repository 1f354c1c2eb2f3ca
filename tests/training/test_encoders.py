"""Steps of fine-tuning that hold for every encoder."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from encoders import ONE_OF_EACH, documents, make_encoder
from torch import Tensor

from textadv.corpus.batching import Batch
from textadv.models.classifier import Classifier
from textadv.settings import FinetuningSettings
from textadv.training import objective
from textadv.training.finetuning import training_attack

VOCABULARY = 50
CLASSES = ["neg", "pos", "other"]
METHODS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "closed form": {},
    "power iteration": {"vat_direction": "power_iteration"},
    "several steps": {"method": "adversarial", "adversary": "pgd-l2"},
    "every word alike": {"method": "adversarial", "adversary": "rfgsm-linf"},
    "words": {"adversary": "interpretable-l2", "num_neighbours": 3},
}
Step = Callable[..., dict[str, Tensor]]

# Every encoder once, and every method with the last one, which has dropout behind its embeddings.
CASES = [(name, method) for name in ONE_OF_EACH for method in METHODS if method == "words" or name == ONE_OF_EACH[-1]]

pytestmark = pytest.mark.parametrize(("name", "method"), CASES)


def batch(name: str, lengths: list[int]) -> Batch:
    given = torch.tensor(lengths)
    return Batch(documents(name, given, VOCABULARY), given, torch.arange(len(lengths)) % len(CLASSES))


@pytest.fixture
def step(name: str, method: str) -> Step:
    """The terms of one step, with dropout."""
    encoder = make_encoder(name, torch.arange(1, VOCABULARY + 1), dropout=0.5)
    torch.manual_seed(2)
    network = Classifier(encoder, len(CLASSES), head_size=8).double().train()
    neighbours = (torch.arange(VOCABULARY)[:, None] + torch.arange(1, 4)) % VOCABULARY

    def terms(epsilon: float) -> dict[str, Tensor]:
        given = FinetuningSettings(epsilon=epsilon, **METHODS[method])
        attack = training_attack(given, CLASSES)
        batches = {"labeled": batch(name, [7, 3, 2, 9]), "unlabeled": batch(name, [4, 8, 5])}
        if not given.uses_unlabeled:
            del batches["unlabeled"]
        generators = {name: torch.Generator().manual_seed(number) for number, name in enumerate(batches)}
        near = neighbours if attack.needs_directions else None
        shares = torch.ones(len(CLASSES)) / len(CLASSES)
        return objective.objective(
            network, batches, given, attack, near, shares, generators, lambda _, values: values.mean(0)
        )

    return terms


def test_all_passes_of_a_step_have_the_same_dropout(step: Step) -> None:
    """Else the perturbed losses would measure it, those of labeled texts beside an unlabeled batch as well."""
    terms = step(epsilon=1e-9)
    assert {"adversarial_loss", "lds"} & terms.keys()
    if "adversarial_loss" in terms:
        torch.testing.assert_close(terms["adversarial_loss"], terms["cross_entropy"], rtol=1e-6, atol=1e-6)
    if "lds" in terms:
        assert (terms["lds"] < 1e-9).all()


def test_special_tokens_and_padding_are_never_perturbed(step: Step, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: dict[tuple[int, ...], list[Tensor]] = {}
    classify = Classifier.classify

    def recording(self: Classifier, embeddings: Tensor, lengths: Tensor) -> Tensor:
        passes.setdefault(tuple(lengths.tolist()), []).append(embeddings.detach())
        return classify(self, embeddings, lengths)

    monkeypatch.setattr(Classifier, "classify", recording)
    step(epsilon=0.7)
    for lengths, (clean, *perturbed) in passes.items():
        given = torch.tensor(lengths)
        tokens = documents(name, given, VOCABULARY)
        mask = make_encoder(name, torch.ones(VOCABULARY)).perturbation_mask(tokens, given)
        assert perturbed
        for one in perturbed:
            moved = (one != clean).any(2)
            assert not moved[~mask].any()
            assert moved[mask].any()
