from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from readers import curves, equal, tensors
from torch import Tensor

from textadv.checkpoints import LAST, load_classifier
from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import DataSettings, Experiment, FinetuningSettings, ModelSettings
from textadv.training import checks, probe, runs
from textadv.training.probe import INVERSE_PENALTY, fit_probe, read_features

LINEAR = ModelSettings(embedding_size=5, hidden_size=6, pooling="last_mean_max", head_size=0)


@pytest.fixture
def linear(experiment: Experiment) -> Callable[..., Experiment]:
    """A linear head that starts as a probe."""

    def make(**settings: object) -> Experiment:
        changed = replace(experiment.finetuning, head_start="probe", **settings)  # type: ignore[arg-type]
        return replace(experiment, finetuning=changed, model=LINEAR)

    return make


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_probe_is_logistic_regression(num_classes: int) -> None:
    """Its penalized loss is the least: that of scikit-learn, with the same penalty."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(1)
    features = 5 + torch.randn(30, 6, dtype=torch.float64, generator=generator) * torch.arange(1, 7)
    labels = torch.arange(30) % num_classes
    features[:, 0] += 4 * labels
    x = ((features - features.mean(0)) / features.var(0, correction=0).sum().sqrt()).numpy()
    # With two classes scikit-learn has one vector of weights for the difference of both, of twice the penalty.
    penalty = INVERSE_PENALTY * (2 if num_classes == 2 else 1)
    expected = linear_model.LogisticRegression(C=penalty, tol=1e-10, max_iter=10_000).fit(x, labels.numpy())
    weight, bias = fit_probe(features, labels, num_classes)
    found = (features @ weight.T + bias).softmax(1)
    torch.testing.assert_close(found, torch.from_numpy(expected.predict_proba(x)), atol=1e-4, rtol=0)


def test_a_feature_that_hardly_varies_hardly_counts() -> None:
    """Though it tells the labels apart a little better than the one that varies."""
    features = torch.tensor([[9.0, 0.00], [-8.0, 0.01], [8.0, 0.00], [-9.0, 0.01], [1.0, 0.01], [-1.0, 0.00]]).double()
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    weight, bias = fit_probe(features, labels, 2)
    assert (features @ weight.T + bias).argmax(1).tolist() == [0, 1, 0, 1, 0, 1]


def test_features_that_are_constant_say_nothing() -> None:
    weight, bias = fit_probe(torch.ones(4, 3), torch.tensor([0, 0, 0, 1]), 2)
    assert (weight == 0).all()
    torch.testing.assert_close(bias.softmax(0), torch.tensor([0.75, 0.25]).double(), atol=1e-4, rtol=0)


def test_the_head_starts_as_a_probe_of_the_pretrained_encoder(
    linear: Callable[..., Experiment], store: TokenStore, tmp_path: Path
) -> None:
    """Here of the features after training, since nothing is learned in the only step."""
    experiment = linear(steps=1, validate_every=1, learning_rate=0.0)
    runs.finetune(experiment, store, tmp_path, None)
    classifier = load_classifier(tmp_path / LAST).classifier.train()
    data = FinetuningData(store, experiment.data, experiment.finetuning, 0)
    rows, documents = data.labeled.indices, data.labeled.documents
    features = read_features(classifier.encoder, documents, rows, "cpu")
    assert classifier.training
    assert all(module.training for module in classifier.encoder.modules())
    weight, bias = fit_probe(features, torch.from_numpy(documents.labels[rows]), 2)
    assert weight.abs().max() > 0.01
    torch.testing.assert_close(classifier.head[0].weight.detach(), weight.float())
    torch.testing.assert_close(classifier.head[0].bias.detach(), bias.float())


def test_labels_that_are_hidden_are_not_read(
    linear: Callable[..., Experiment], store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe sees the labels that train, and neither those that select nor the rest of the split's."""
    seen: list[Tensor] = []
    monkeypatch.setattr(probe, "fit_probe", lambda x, labels, n: seen.append(labels) or fit_probe(x, labels, n))
    experiment = replace(linear(steps=1), data=DataSettings(labels_per_class=4, validation_labels=2))
    runs.finetune(experiment, store, tmp_path, None)
    data = FinetuningData(store, experiment.data, experiment.finetuning, 0)
    (labels,) = seen
    assert labels.tolist() == store.splits["train"].labels[data.labeled.indices].tolist()
    assert np.bincount(labels).tolist() == [3, 3]


def test_a_run_that_goes_on_keeps_the_head_that_it_has(
    linear: Callable[..., Experiment], store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = linear(validate_every=2)
    runs.finetune(experiment, store, tmp_path / "whole", None)
    with monkeypatch.context() as patch:  # ends after step 2, as if it had been stopped
        patch.setattr(runs.Patience, "on_validation_end", lambda _, trainer, *__: setattr(trainer, "should_stop", True))
        runs.finetune(experiment, store, tmp_path / "parts", None)
    monkeypatch.setattr(probe, "fit_probe", lambda *_: pytest.fail("the probe is fitted again"))
    parts = runs.finetune(experiment, store, tmp_path / "parts", None, tmp_path / "parts" / LAST)
    assert parts["steps"] == 6
    assert curves(tmp_path / "parts") == curves(tmp_path / "whole")
    assert equal(*(tensors(tmp_path / name / LAST) for name in ("parts", "whole")))


def test_a_probe_needs_a_linear_head_and_a_pretrained_encoder() -> None:
    start = FinetuningSettings(head_start="probe")
    with pytest.raises(InputError, match=r"^--finetuning.head_start probe: needs a linear head, --model.head_size 0$"):
        Experiment(finetuning=start)
    experiment = Experiment(finetuning=start, model=LINEAR)
    checks.check_encoder(experiment, None)
    with pytest.raises(InputError, match=r"^--finetuning.head_start: needs a pretrained encoder, but --pretrained is"):
        checks.check_encoder(experiment, "none")
