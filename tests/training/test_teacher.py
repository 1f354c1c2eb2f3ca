from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stepping import Make, record_passes, terms_of
from torch import Tensor

from textadv.corpus.batching import Documents
from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.layers import LAYERS, POOLINGS
from textadv.models.recurrent import RecurrentEncoder
from textadv.settings import DataSettings, Experiment, FinetuningSettings, TrainerSettings
from textadv.training import runs, teacher
from textadv.training.teacher import INVERSE_PENALTY, UNKNOWN, mean_features, probe, surest, teach

CPU = TrainerSettings(accelerator="cpu")
TEACHER = {"pseudo_label_weight": 1.0, "teacher_share": 0.5}


@pytest.fixture
def encoder(store: TokenStore) -> RecurrentEncoder:
    torch.manual_seed(0)
    frequencies = torch.from_numpy(store.frequencies)
    return RecurrentEncoder(frequencies, 4, 3, pooling=POOLINGS["last_mean_max"], dropout=0.5).double()


def data_of(store: TokenStore, **settings: object) -> FinetuningData:
    return FinetuningData(
        store, DataSettings(labels_per_class=4, validation_labels=2), FinetuningSettings(**TEACHER, **settings), 0
    )


def test_features_are_the_mean_outputs_of_documents_in_their_order(
    encoder: RecurrentEncoder, store: TokenStore
) -> None:
    documents, rows = Documents(store.splits["train"], store.splits["unlabeled"]), np.array([7, 2, 11, 3])
    encoder.train()
    features = mean_features(encoder, documents, rows, "cpu")
    assert encoder.training
    assert encoder.pooling is POOLINGS["last_mean_max"]
    encoder.eval()
    for row, found in zip(rows, features, strict=True):
        tokens = torch.from_numpy(documents.document(row).astype(np.int64))[None]
        outputs, _ = encoder.layers[0](encoder.embed(tokens), None)
        torch.testing.assert_close(found, outputs[0].mean(0))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_probe_is_logistic_regression(num_classes: int) -> None:
    """At its scores the penalized loss is least: that of scikit-learn, with the same penalty."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(1)
    features = 5 + 3 * torch.randn(40, 6, dtype=torch.float64, generator=generator)
    labels = torch.arange(30) % num_classes
    features[:30, 0] += 4 * labels
    x = ((features - features.mean(0)) / features.std(0, correction=0)).numpy()
    # With two classes scikit-learn has one vector of weights for the difference of both, of twice the penalty.
    penalty = INVERSE_PENALTY * (2 if num_classes == 2 else 1)
    expected = linear_model.LogisticRegression(C=penalty, tol=1e-10, max_iter=10_000).fit(x[:30], labels.numpy())
    found = probe(features, labels, num_classes).softmax(1)
    torch.testing.assert_close(found, torch.from_numpy(expected.predict_proba(x)), atol=1e-4, rtol=0)


def test_a_feature_that_is_constant_says_nothing() -> None:
    features = torch.tensor([[1, 0], [1, 2], [1, 3], [1, 5], [1, 1], [1, 4]]).double()
    scores = probe(features, torch.tensor([0, 0, 1, 1]), 2)
    assert scores.isfinite().all()
    assert scores.argmax(1).tolist() == [0, 0, 1, 1, 0, 1]


def test_the_surest_are_chosen_in_the_shares_of_the_classes() -> None:
    confidence = torch.arange(1.0, 21.0).double()
    logits = torch.stack([confidence - 10.5, 10.5 - confidence], 1)  # half of each class
    kept = surest(logits, torch.tensor([0.5, 0.5]).double(), 0.4)
    assert kept.tolist() == [1] * 4 + [UNKNOWN] * 12 + [0] * 4
    assert (surest(logits, torch.tensor([0.5, 0.5]).double(), 1.0) == logits.argmax(1)).all()


def test_predictions_are_aligned_with_the_shares() -> None:
    """A classifier that calls everything the first class still names texts of both."""
    logits = torch.stack([torch.linspace(3, 5, 20), torch.zeros(20)], 1).double()
    kept = surest(logits, torch.tensor([0.5, 0.5]).double(), 0.2)
    assert (kept == 0).sum() == 2
    assert (kept[-2:] == 0).all()
    assert (kept == 1).sum() == 2
    assert (kept[:2] == 1).all()


def test_the_texts_that_are_read_are_labeled_and_no_others(encoder: RecurrentEncoder, store: TokenStore) -> None:
    data = data_of(store, steps=2, unlabeled_batch_size=4)
    teach(data, encoder, torch.tensor([0.5, 0.5]), FinetuningSettings(**TEACHER, steps=2), CPU)
    assert data.unlabeled is not None
    read = set(data.unlabeled.rows(0)) | set(data.unlabeled.rows(1))
    assert len(read) < len(data.unlabeled.indices)
    known = set(np.flatnonzero(data.teacher_labels != UNKNOWN))
    assert known <= read
    assert len(known) == 4  # half of 7, to an even number
    batch = next(iter(data.train_dataloader()))["unlabeled"]
    assert batch.labels.tolist() == data.teacher_labels[data.unlabeled.rows(0)].tolist()


def test_labels_that_are_hidden_are_not_read(encoder: RecurrentEncoder, store: TokenStore) -> None:
    """The teacher sees the labels that train, and neither those that select nor the rest of the split's."""
    data = data_of(store)
    seen: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, "probe", lambda x, labels, n: seen.append(labels) or probe(x, labels, n))
        teach(data, encoder, torch.tensor([0.5, 0.5]), FinetuningSettings(**TEACHER), CPU)
    assert seen[0].tolist() == store.splits["train"].labels[data.labeled.indices].tolist()
    assert len(seen[0]) == 6


@pytest.mark.parametrize("method", ["none", "vat"])
def test_the_loss_is_that_at_the_teachers_labels(
    make: Make, store: TokenStore, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make(method=method, dropout=0.0, **TEACHER)
    given = np.arange(len(Documents(store.splits["train"], store.splits["unlabeled"]))) % 3 - 1
    monkeypatch.setattr(FinetuningData, "teacher_labels", property(lambda _: given, lambda *_: None), raising=False)
    calls = record_passes(module, monkeypatch)
    terms, _ = terms_of(module, store)
    data = FinetuningData(store, Experiment().data, module.settings, 0)
    labels = next(iter(data.train_dataloader()))["unlabeled"].labels
    perturbed = next(logits for *_, logits in reversed(calls) if len(logits) == len(labels))
    sure = labels >= 0
    assert 0 < sure.sum() < len(sure)
    expected = torch.nn.functional.cross_entropy(perturbed[sure], labels[sure], reduction="none")
    torch.testing.assert_close(terms["pseudo_label_loss"][sure], expected)
    assert (terms["pseudo_label_loss"][~sure] == 0).all()
    assert (terms["pseudo_labeled"] == sure).all()


def test_a_share_needs_a_weight() -> None:
    with pytest.raises(InputError, match=r"--finetuning.teacher_share: needs a --finetuning.pseudo_label_weight"):
        FinetuningSettings(teacher_share=0.5)
    with pytest.raises(InputError, match=r"--finetuning.teacher_share 1.5: must be from 0 to 1"):
        FinetuningSettings(teacher_share=1.5, pseudo_label_weight=1.0)


@pytest.mark.parametrize("encoder_name", LAYERS)
def test_a_run_that_goes_on_has_the_same_teacher(
    with_finetuning: Callable[..., Experiment], store: TokenStore, tmp_path: Path, encoder_name: str
) -> None:
    """The pretrained encoder is not there any more when a run goes on."""
    experiment = with_finetuning(method="vat", steps=4, validate_every=2, **TEACHER)
    experiment = replace(experiment, model=replace(experiment.model, encoder=encoder_name))
    whole = runs.finetune(experiment, store, tmp_path / "whole", None)
    half = replace(experiment, finetuning=replace(experiment.finetuning, steps=2))
    runs.finetune(half, store, tmp_path / "parts", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "teach", lambda *_: pytest.fail("the teacher is asked again"))
        parts = runs.finetune(experiment, store, tmp_path / "parts", None, tmp_path / "parts" / "last.ckpt")
    assert parts["metrics"]["pseudo_labeled"] > 0
    assert parts["metrics"] == whole["metrics"]
