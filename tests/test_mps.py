"""Apple's MPS has no float64, and no eigenvalues: what needs them is computed on the CPU. MPS is simulated here."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from textadv.adversarial.virtual import closed_form_direction
from textadv.corpus.batching import Batch, StreamBatch
from textadv.corpus.store import Split, TokenStore
from textadv.evaluation.evaluate import class_probabilities
from textadv.models.factory import build_classifier, build_encoder
from textadv.models.language_model import LanguageModel
from textadv.settings import Experiment
from textadv.training.base import TrainingModule
from textadv.training.finetuning import FinetuningModule
from textadv.training.pretraining import PretrainingModule

MPS = torch.device("mps")


def test_every_step_is_looked_at() -> None:
    """Its fused optimizer does not skip those that are not finite."""
    assert TrainingModule.check_every.fget(SimpleNamespace(device=MPS)) == 1  # type: ignore[attr-defined]


class OnMps(Tensor):
    """A tensor of the CPU that behaves as one of MPS: no float64, no eigenvalues, no tensor of the CPU beside it."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return MPS
        found = super().__torch_function__(func, types, args, kwargs)
        if func is Tensor.cpu:
            return found.as_subclass(Tensor)
        if func is torch.linalg.eigh:
            raise NotImplementedError("eigh on MPS")
        others = [x for x in args if isinstance(x, Tensor) and not isinstance(x, OnMps) and x.dim()]
        if others and func is not Tensor.to:
            raise RuntimeError(f"{func}: tensors on different devices")
        return on_mps(found) if isinstance(found, Tensor) else found


def on_mps(x: Tensor) -> Tensor:
    if x.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
    return x if isinstance(x, OnMps) else x.as_subclass(OnMps)


class MakesThere(TorchFunctionMode):
    """Has what is made on MPS or moved there be there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        there = [x for x in (*args[1:], options.get("device")) if isinstance(x, str | torch.device)]
        if func is Tensor.to and there and torch.device(there[0]) == MPS:
            return on_mps(args[0])
        if options.get("device") == MPS:
            return on_mps(func(*args, **options | {"device": None}))
        return func(*args, **options)


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """Modules that are on MPS, and what they log."""
    logged: dict[str, float] = {}
    trainer = SimpleNamespace(strategy=SimpleNamespace(reduce=lambda x, reduce_op: x))
    for kind in (PretrainingModule, FinetuningModule):
        monkeypatch.setattr(kind, "device", MPS, raising=False)
        monkeypatch.setattr(kind, "trainer", trainer, raising=False)
        monkeypatch.setattr(kind, "log", lambda self, name, value, **_: logged.update({name: float(value)}))
    with MakesThere():
        yield logged


class Fixed(nn.Module):
    """A network that yields what it is told."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, *_: Any) -> Any:
        return self.output


def test_the_stand_in() -> None:
    x = on_mps(torch.ones(2, 2))
    assert x.device == (x @ x).device == MPS
    assert x.cpu().double().dtype == torch.float64
    for wrong in (Tensor.double, torch.linalg.eigh, lambda x: x + torch.ones(2, 2)):
        with pytest.raises((TypeError, NotImplementedError, RuntimeError)):
            wrong(x)


def test_the_closed_form_of_several_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, gradients = torch.randn(3, 4, generator=generator), torch.randn(3, 3, 5, 2, generator=generator)
    mask = torch.ones(3, 5, dtype=torch.bool)
    torch.manual_seed(0)
    expected = closed_form_direction(logits, gradients, mask)
    torch.manual_seed(0)
    with MakesThere():
        found = closed_form_direction(on_mps(logits), on_mps(gradients), on_mps(mask))
    assert found.device == MPS
    assert torch.equal(found.cpu(), expected)


def test_validation_of_the_classifier(mps: dict[str, float], experiment: Experiment, store: TokenStore) -> None:
    encoder = build_encoder(experiment.model, torch.from_numpy(store.frequencies))
    classifier = build_classifier(experiment.model, encoder, 2)
    module = FinetuningModule(classifier, experiment.finetuning, 0, {"classes": ("neg", "pos")})
    module.model = Fixed(on_mps(torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]])))  # type: ignore[assignment]
    labels = on_mps(torch.tensor([0, 1, 0]))
    module.on_validation_epoch_start()
    for _ in range(2):
        module.validation_step(Batch(labels, labels, labels), 0)
    module.on_validation_epoch_end()
    assert mps["validation_error"] == pytest.approx(200 / 3)
    assert mps["validation_loss"] == pytest.approx((np.log1p(np.exp(-2)) + np.log(2) + np.log1p(np.exp(2))) / 3)


def test_validation_of_the_language_model(mps: dict[str, float], experiment: Experiment, store: TokenStore) -> None:
    encoder = build_encoder(experiment.model, torch.from_numpy(store.frequencies))
    module = PretrainingModule(LanguageModel(encoder), experiment.pretraining, 0, {})
    module.model = Fixed((on_mps(torch.tensor([[[1.0, 3.0, 0.0]]])), None))  # type: ignore[assignment]
    tokens = on_mps(torch.tensor([[[5, 6, 0]]]))
    module.on_validation_epoch_start()
    for _ in range(2):
        module.validation_step(StreamBatch(tokens, tokens, True, 2), 0)
    module.on_validation_epoch_end()
    assert mps["validation_perplexity"] == pytest.approx(np.exp(2))


def test_classification(mps: object, make_split: Callable[..., Split]) -> None:
    """As `evaluate` and `predict` do it."""
    network: Any = Fixed(on_mps(torch.tensor([[0.0, 1.0], [0.0, 0.0]])))  # the longer document comes first
    network.to = lambda device: network
    found = class_probabilities(network, make_split([2, 3], [0, 1]), "mps")
    assert found.dtype == np.float64
    assert found[:, 1] == pytest.approx([0.5, 1 / (1 + np.exp(-1))])
