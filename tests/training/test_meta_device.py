"""Steps on torch's `meta` device, which holds no values.

A tensor that was left on the CPU does not fit to one on `meta`, and whatever the host reads from it raises: what runs
here has its tensors on the right device, on a GPU too, and waits for nothing.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from encoders import OWN, TRANSFORMERS, make_encoder
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor

from textadv.corpus.batching import Batch, StreamBatch
from textadv.corpus.datamodules import FinetuningData, PretrainingData, StoreData
from textadv.corpus.store import TokenStore
from textadv.models.encoders import Encoder
from textadv.models.factory import build_classifier, build_encoder
from textadv.models.language_model import LanguageModel
from textadv.models.layers import LAYERS
from textadv.settings import Experiment
from textadv.training import callbacks, runs
from textadv.training.base import TrainingModule
from textadv.training.callbacks import Progress, WeightEMA
from textadv.training.finetuning import FinetuningModule
from textadv.training.pretraining import PretrainingModule

META = torch.device("meta")
STEPS = 3
READERS = list(itertools.product(LAYERS, [False, True]))  # kinds of encoder, in one direction and both


class Unfused(torch.optim.Optimizer):
    """Adam and AdamW have no fused step on `meta`, and without one do not know `found_inf`."""

    def __init__(self, *arguments: Any, fused: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        assert self.found_inf.device == META
        self.found_inf = None
        super().step()
        return loss


class Adam(Unfused, torch.optim.Adam): ...


class AdamW(Unfused, torch.optim.AdamW): ...


class NoDevice(CPUAccelerator):
    """Lightning's accelerator for the CPU, but for its refusal of other devices."""

    def setup_device(self, device: torch.device) -> None:
        pass


class Devices(Callback):
    """Looks where the gradients are."""

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        assert all(parameter.grad.device == META for parameter in pl_module.parameters())


class OnTheCpu:
    """Makes generators for the CPU whatever the device; a class, as what is imported meanwhile annotates with it."""

    def __new__(cls, device: str, generator: type[torch.Generator] = torch.Generator) -> torch.Generator:
        return generator()


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainingModule, StoreData], None]:
    monkeypatch.setattr(torch.optim, "Adam", Adam)
    monkeypatch.setattr(torch.optim, "AdamW", AdamW)
    # There is no generator on `meta`. What is drawn there has no values, and takes any.
    monkeypatch.setattr(torch, "Generator", OnTheCpu)
    monkeypatch.setattr(callbacks, "LINE_SECONDS", float("inf"))  # only a line of progress reads the loss
    monkeypatch.setattr(pl.Trainer, "_teardown", lambda trainer: None)  # in the end Lightning copies all to the CPU

    def fit(module: TrainingModule, data: StoreData) -> None:
        trainer = pl.Trainer(
            strategy=SingleDeviceStrategy(META, accelerator=NoDevice()),
            max_steps=STEPS,
            max_epochs=-1,
            limit_val_batches=0,
            callbacks=[Devices(), Progress("on meta"), WeightEMA(0.9)],
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=False,
        )
        runs.fit(trainer, module, data)
        assert trainer.global_step == STEPS

    return fit


METHODS: list[dict[str, Any]] = [
    {"method": "none"},
    {"method": "none", "entropy_weight": 0.5},
    {"method": "random"},
    {"method": "adversarial"},
    {"method": "vat"},
    {"method": "adversarial+vat"},
    {"method": "adversarial+vat", "window": 400},
    {"method": "adversarial+vat", "vat_direction": "power_iteration"},
    {"method": "adversarial+vat", "vat_epsilon": 1.0},
    {"method": "adversarial+vat", "vat_target": 0.01, "balance_weight": 0.5, "pseudo_label_weight": 1.0},
    {"method": "none", "pseudo_label_weight": 1.0},
    {"method": "adversarial", "adversary": "rfgsm-linf"},
    {"method": "adversarial", "adversary": "ifgsm-l2-least_likely"},
    {"method": "adversarial", "adversary": "pgd-linf"},
    {"method": "adversarial", "adversary": "mifgsm-linf"},
    {"method": "adversarial", "adversary": "pgd-l2-pos", "num_restarts": 2},
    {"method": "adversarial", "adversary": "interpretable-l2"},
]


def finetuning(
    experiment: Experiment, store: TokenStore, encoder: Encoder | None = None
) -> tuple[FinetuningModule, FinetuningData]:
    settings, frequencies = experiment.finetuning, torch.from_numpy(store.frequencies)
    encoder = encoder or build_encoder(experiment.model, frequencies, settings.dropout, settings.window)
    classifier = build_classifier(experiment.model, encoder, len(store.classes))
    module = FinetuningModule(classifier, settings, 0, {"classes": list(store.classes)})
    return module, FinetuningData(store, experiment.data, settings, 0)


@pytest.mark.parametrize("settings", METHODS, ids=lambda settings: "-".join(map(str, settings.values())))
@pytest.mark.parametrize(("kind", "bidirectional"), READERS)
def test_steps_of_finetuning(
    with_finetuning: Callable[..., Experiment],
    store: TokenStore,
    train: Callable[..., None],
    settings: dict[str, Any],
    kind: str,
    bidirectional: bool,
) -> None:
    experiment = with_finetuning(**settings)
    experiment = replace(experiment, model=replace(experiment.model, encoder=kind, bidirectional=bidirectional))
    train(*finetuning(experiment, store))


@pytest.mark.parametrize(
    ("name", "settings"),
    [*itertools.product([OWN, *TRANSFORMERS[:1]], METHODS), *itertools.product(TRANSFORMERS[-1:], [{}])],
    ids=lambda one: one if isinstance(one, str) else "-".join(map(str, one.values())),
)
def test_steps_of_other_encoders(
    with_finetuning: Callable[..., Experiment],
    store: TokenStore,
    train: Callable[..., None],
    settings: dict[str, Any],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name in TRANSFORMERS:  # which asks: is there padding?
        monkeypatch.setattr("transformers.masking_utils._ignore_bidirectional_mask_sdpa", lambda *_: False)
    experiment = with_finetuning(**settings)
    module, data = finetuning(experiment, store, make_encoder(name, torch.from_numpy(store.frequencies)))
    train(module, data)
    on_meta(module, next(iter(data.val_dataloader())))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_steps_of_a_gru(
    with_finetuning: Callable[..., Experiment], store: TokenStore, train: Callable[..., None], bidirectional: bool
) -> None:
    experiment = with_finetuning()
    model = replace(experiment.model, encoder="gru", bidirectional=bidirectional)
    train(*finetuning(replace(experiment, model=model), store))
    module = PretrainingModule(
        LanguageModel(build_encoder(model, torch.from_numpy(store.frequencies))), experiment.pretraining, 0, {}
    )
    train(module, PretrainingData(store, model, experiment.pretraining, 0))


@pytest.mark.parametrize("settings", [{}, {"vat_direction": "power_iteration"}])
def test_steps_with_three_classes(
    with_finetuning: Callable[..., Experiment], store: TokenStore, train: Callable[..., None], settings: dict[str, Any]
) -> None:
    train(*finetuning(with_finetuning(**settings), replace(store, classes=("neg", "pos", "other"))))


@pytest.mark.parametrize("candidates", [0, 20])
@pytest.mark.parametrize(("kind", "bidirectional"), READERS)
def test_steps_of_pretraining(
    experiment: Experiment,
    store: TokenStore,
    train: Callable[..., None],
    candidates: int,
    kind: str,
    bidirectional: bool,
) -> None:
    model = replace(experiment.model, encoder=kind, bidirectional=bidirectional)
    settings = replace(experiment.pretraining, candidates=candidates)
    encoder = build_encoder(model, torch.from_numpy(store.frequencies), settings.dropout)
    module = PretrainingModule(LanguageModel(encoder), settings, 0, {})
    train(module, PretrainingData(store, model, settings, 0))


def on_meta(module: TrainingModule, batch: Batch | StreamBatch) -> None:
    """One validation batch, handed over as Lightning does it."""
    module.to(META).eval()
    module.on_validation_epoch_start()
    with torch.inference_mode():
        module.validation_step(module.transfer_batch_to_device(batch, META, 0), 0)


@pytest.mark.parametrize(("kind", "bidirectional"), READERS)
def test_validation(experiment: Experiment, store: TokenStore, kind: str, bidirectional: bool) -> None:
    experiment = replace(experiment, model=replace(experiment.model, encoder=kind, bidirectional=bidirectional))
    module, data = finetuning(experiment, store)
    on_meta(module, next(iter(data.val_dataloader())))
    assert module.validation_sums.device == META
    encoder = build_encoder(experiment.model, torch.from_numpy(store.frequencies))
    model = PretrainingModule(LanguageModel(encoder), experiment.pretraining, 0, {})
    stream = PretrainingData(store, experiment.model, experiment.pretraining, 0)
    on_meta(model, next(iter(stream.val_dataloader())))
    assert model.validation_sums.device == META


def test_the_device_finds_both_faults() -> None:
    """That of a tensor elsewhere, and that of a host that waits."""
    x = torch.ones(2, device=META)
    with pytest.raises(RuntimeError):
        _ = x + torch.ones(2)
    for read in (Tensor.tolist, bool, float, int, lambda x: x[x > 0]):
        with pytest.raises((RuntimeError, NotImplementedError)):
            read(x[0] if read is not Tensor.tolist else x)
