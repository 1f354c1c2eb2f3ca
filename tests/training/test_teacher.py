from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stepping import Make, record_passes, terms_of
from torch import Tensor

from textadv.corpus.batching import Documents
from textadv.corpus.datamodules import NOT_ASKED, FinetuningData
from textadv.corpus.padding import Indices
from textadv.corpus.rows import UNLABELED
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.layers import LAYERS, POOLINGS
from textadv.models.recurrent import RecurrentEncoder
from textadv.settings import DataSettings, Experiment, FinetuningSettings
from textadv.training import checks, runs, teacher
from textadv.training.probe import fit_probe
from textadv.training.teacher import mean_features, surest, teach

TEACHER = {"pseudo_label_weight": 1.0, "teacher_share": 0.5}
EQUAL = torch.tensor([0.5, 0.5]).double()


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
    encoder.embedding.eval()  # as its author wants it
    features = mean_features(encoder, documents, rows, "cpu")
    assert encoder.training
    assert not encoder.embedding.training
    assert encoder.pooling is POOLINGS["last_mean_max"]
    encoder.eval()
    for row, found in zip(rows, features, strict=True):
        tokens = torch.from_numpy(documents.document(row).astype(np.int64))[None]
        outputs, _ = encoder.layers[0](encoder.embed(tokens), None)
        torch.testing.assert_close(found, outputs[0].mean(0).float())


def test_the_surest_are_chosen_in_the_shares_of_the_classes() -> None:
    confidence = torch.arange(1.0, 21.0).double()
    logits = torch.stack([confidence - 10.5, 10.5 - confidence], 1)  # half of each class
    kept = surest(logits, EQUAL, 0.4)
    assert kept.tolist() == [1] * 4 + [UNLABELED] * 12 + [0] * 4
    assert (surest(logits, EQUAL, 1.0) == logits.argmax(1)).all()


def test_predictions_are_aligned_with_the_shares() -> None:
    """A classifier that calls everything the first class still names as many texts of both."""
    logits = torch.stack([torch.linspace(1, 9, 20), torch.zeros(20)], 1).double()
    kept = surest(logits, EQUAL, 0.2)
    assert kept.tolist() == [1, 1, *[UNLABELED] * 16, 0, 0]


def test_a_rare_class_has_a_text_of_its_own() -> None:
    logits = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits[5, 1] = logits[9, 2] = 12.0
    kept = surest(logits, torch.tensor([0.98, 0.01, 0.01]).double(), 0.5)
    assert [int((kept == label).sum()) for label in range(3)] == [29, 1, 1]


@pytest.fixture
def ask(encoder: RecurrentEncoder) -> Callable[[FinetuningData, Indices], Indices]:
    return lambda data, rows: teach(data, encoder, EQUAL, rows, 0.5, "cpu")


def test_the_texts_asked_about_are_labeled_and_no_others(
    store: TokenStore, ask: Callable[[FinetuningData, Indices], Indices]
) -> None:
    data = data_of(store, unlabeled_batch_size=4)
    assert data.unlabeled is not None
    rows = data.unlabeled.first(2)
    assert set(rows) == set(data.unlabeled.rows(0)) | set(data.unlabeled.rows(1))
    assert len(rows) == 7 < len(data.unlabeled.indices)
    data.teacher_labels = ask(data, rows)
    assert set(np.flatnonzero(data.teacher_labels != NOT_ASKED)) == set(rows)
    assert (data.teacher_labels[rows] != UNLABELED).sum() == 4  # half of 7, to an even number
    batch = next(iter(data.train_dataloader()))["unlabeled"]
    assert batch.labels.tolist() == data.teacher_labels[data.unlabeled.rows(0)].tolist()


def test_labels_that_are_hidden_are_not_read(
    store: TokenStore, ask: Callable[[FinetuningData, Indices], Indices]
) -> None:
    """The teacher sees the labels that train, and neither those that select nor the rest of the split's."""
    data = data_of(store)
    assert data.unlabeled is not None
    seen: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, "fit_probe", lambda x, labels, n: seen.append(labels) or fit_probe(x, labels, n))
        ask(data, data.unlabeled.indices)
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
    with_finetuning: Callable[..., Experiment],
    store: TokenStore,
    tmp_path: Path,
    encoder_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pretrained encoder is not there any more when a run goes on."""
    experiment = with_finetuning(method="vat", steps=6, validate_every=2, unlabeled_batch_size=3, **TEACHER)
    experiment = replace(experiment, model=replace(experiment.model, encoder=encoder_name))
    whole = runs.finetune(experiment, store, tmp_path / "whole", None)
    with monkeypatch.context() as patch:  # ends after step 2, as if it had been stopped
        patch.setattr(runs.Patience, "on_validation_end", lambda _, trainer, *__: setattr(trainer, "should_stop", True))
        runs.finetune(experiment, store, tmp_path / "parts", None)
    monkeypatch.setattr(teacher, "teach", lambda *_: pytest.fail("the teacher is asked again"))
    parts = runs.finetune(experiment, store, tmp_path / "parts", None, tmp_path / "parts" / "last.ckpt")
    assert parts["steps"] == whole["steps"] == 6
    assert parts["metrics"]["pseudo_labeled"] > 0
    assert {name: value for name, value in parts["metrics"].items() if "second" not in name} == {
        name: value for name, value in whole["metrics"].items() if "second" not in name
    }


def test_a_run_does_not_go_on_beyond_what_the_teacher_was_asked(
    with_finetuning: Callable[..., Experiment], store: TokenStore, tmp_path: Path
) -> None:
    experiment = with_finetuning(method="none", steps=1, validate_every=1, unlabeled_batch_size=3, **TEACHER)
    runs.finetune(experiment, store, tmp_path, None)
    more = replace(experiment, finetuning=replace(experiment.finetuning, steps=2))
    with pytest.raises(InputError, match=r"^--finetuning.steps 2: the run has a teacher, which was asked about"):
        runs.finetune(more, store, tmp_path, None, tmp_path / "last.ckpt")


def test_random_weights_are_no_teacher() -> None:
    experiment = Experiment(finetuning=FinetuningSettings(**TEACHER))
    with pytest.raises(InputError, match=r"^--finetuning.teacher_share: needs a pretrained encoder"):
        checks.check_encoder(experiment, "none")
    checks.check_encoder(experiment, None)
