import numpy as np
import pytest
import torch
from stepping import Make, record_passes, step, terms_of
from torch import Tensor

from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import FinetuningSettings


def test_entropy_is_added(make: Make, store: TokenStore) -> None:
    without, with_entropy = (step(make(method="vat", entropy_weight=w), store).item() for w in (0.0, 0.5))
    assert 0 < with_entropy - without <= 0.5 * np.log(2)


def test_the_size_of_the_virtual_perturbation_meets_a_target(make: Make, store: TokenStore) -> None:
    target = 1e-7
    terms, labeled = terms_of(make(method="vat", vat_target=target, vat_epsilon=1e3, dropout=0.0), store)
    assert terms["lds"][labeled:].mean().item() == pytest.approx(target, rel=0.01)
    assert len(terms["virtual_epsilon"].unique()) == 1


def test_the_size_of_the_virtual_perturbation_has_a_bound(make: Make, store: TokenStore) -> None:
    bounded, _ = terms_of(make(method="vat", vat_target=0.9, vat_epsilon=0.01, dropout=0.0), store)
    fixed, _ = terms_of(make(method="vat", vat_epsilon=0.01, dropout=0.0), store)
    assert torch.allclose(bounded["lds"], fixed["lds"], rtol=1e-12)


def test_a_target_needs_the_closed_form() -> None:
    with pytest.raises(InputError, match=r"--finetuning.vat_target: needs the closed form"):
        FinetuningSettings(vat_target=0.1, vat_direction="power_iteration")


@pytest.mark.parametrize("name", ["vat_target", "balance_weight", "pseudo_label_weight"])
def test_a_mean_over_the_whole_batch_needs_the_whole_batch(name: str) -> None:
    with pytest.raises(InputError, match=rf"^--finetuning.micro_batches 2: must be 1 beside --finetuning.{name}, "):
        FinetuningSettings(micro_batches=2, **{name: 0.5})  # type: ignore[arg-type]
    FinetuningSettings(micro_batches=2, pseudo_label_weight=0.5, teacher_share=0.5)
    FinetuningSettings(micro_batches=2, method="adversarial", vat_target=0.5)


def test_there_are_as_many_micro_batches_as_documents_at_most() -> None:
    with pytest.raises(InputError, match=r"^--finetuning.micro_batches 9: must be at most --finetuning.batch_size 8$"):
        FinetuningSettings(micro_batches=9, batch_size=8)
    with pytest.raises(InputError, match=r"must be at most --finetuning.unlabeled_batch_size 8$"):
        FinetuningSettings(micro_batches=9, unlabeled_batch_size=8)
    FinetuningSettings(micro_batches=9, unlabeled_batch_size=8, method="none")


def test_the_entropy_of_the_mean_prediction_is_subtracted(make: Make, store: TokenStore) -> None:
    without, balanced = (step(make(method="none", balance_weight=w, entropy_weight=0.1), store) for w in (0.0, 0.5))
    terms, _ = terms_of(make(method="none", entropy_weight=0.1), store)
    mean = terms["largest_class_share"].mean(0)
    assert (balanced - without).item() == pytest.approx(0.5 * (mean * mean.log()).sum().item())


@pytest.mark.parametrize("method", ["none", "vat"])
def test_pseudo_labels_are_those_of_the_aligned_prediction(
    make: Make, store: TokenStore, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make(method=method, pseudo_label_weight=1.0, pseudo_label_threshold=0.0, dropout=0.0)
    calls = record_passes(module, monkeypatch)
    terms, _ = terms_of(module, store)
    clean = terms["largest_class_share"]
    aligned = clean / clean.mean(0)  # the classes' shares are equal
    perturbed = next(logits for *_, logits in reversed(calls) if len(logits) == len(clean))
    expected = torch.nn.functional.cross_entropy(perturbed, aligned.argmax(1), reduction="none")
    assert torch.allclose(terms["pseudo_label_loss"], expected)
    assert terms["pseudo_labeled"].all()
    assert 0 < aligned.argmax(1).sum() < len(clean)  # both classes, though the classifier predicts one


def test_only_sure_predictions_are_pseudo_labels(make: Make, store: TokenStore) -> None:
    terms, _ = terms_of(make(method="none", pseudo_label_weight=1.0, pseudo_label_threshold=0.999999), store)
    sure = terms["pseudo_labeled"]
    assert not sure.all()
    assert (terms["pseudo_label_loss"][~sure] == 0).all()


def test_sums_of_predictions_are_not_rounded_under_autocast(make: Make, store: TokenStore) -> None:
    """In bfloat16 the sum of a class would stay at 256, so that all classes would have equal shares in the end."""
    module = make(method="none", balance_weight=1.0, pseudo_label_weight=1.0).float()
    averaged: list[Tensor] = []
    with torch.autocast("cpu", torch.bfloat16), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_mean_over_ranks", lambda _, values: averaged.append(values) or values.mean(0))
        documents = len(terms_of(module, store)[0]["largest_class_share"])
        before = module.class_sums = 10_000 * torch.as_tensor(module.class_sums)
        step(module, store)
    added = torch.as_tensor(module.class_sums).double().sum() - before.double().sum()
    assert added.item() == pytest.approx(documents, abs=0.1)
    assert {values.dtype for values in averaged} == {torch.float32}
