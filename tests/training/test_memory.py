"""Memory runs out: one line that says what to lower, and the checkpoint from before is whole."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from textadv.checkpoints import LAST, load_file
from textadv.corpus.datamodules import FinetuningData, PretrainingData
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import Experiment
from textadv.training import runs
from textadv.training.base import TrainingModule
from textadv.training.finetuning import FinetuningModule
from textadv.training.pretraining import PretrainingModule

FAILURES: dict[str, Callable[[], object]] = {
    "torch on a CPU": lambda: torch.empty(2**60),
    "torch on a GPU": lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")),
    "Python": lambda: bytearray(2**60),
}


def fail_at(patch: pytest.MonkeyPatch, kind: type[TrainingModule], step: int, fail: Callable[[], object]) -> None:
    original = kind.training_step  # type: ignore[attr-defined]

    def training_step(module: TrainingModule, *arguments: object) -> Tensor:
        if module.global_step + 1 == step:
            fail()
        loss: Tensor = original(module, *arguments)
        return loss

    patch.setattr(kind, "training_step", training_step)


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
def test_finetuning(
    experiment: Experiment,
    store: TokenStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[], object],
) -> None:
    fail_at(monkeypatch, FinetuningModule, 5, fail)
    with pytest.raises(InputError) as error:
        runs.finetune(experiment, store, tmp_path, None)
    data = FinetuningData(store, experiment.data, experiment.finetuning, experiment.seed)
    assert data.unlabeled is not None
    tokens = data.labeled.batch(4).tokens.numel() + data.unlabeled.batch(4).tokens.numel()
    assert str(error.value) == (
        f"out of memory at step 5, whose batch has {tokens} tokens with padding: lower --finetuning.batch_size 4, "
        "--finetuning.unlabeled_batch_size 5, --finetuning.window 4. The checkpoint before it is kept"
    )
    assert load_file(tmp_path / LAST)["global_step"] == 3


def test_without_unlabeled_text(
    with_finetuning: Callable[..., Experiment], store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, FinetuningModule, 1, FAILURES["Python"])
    with pytest.raises(InputError, match=r"step 1, .* lower --finetuning.batch_size 4, --finetuning.window 4\. "):
        runs.finetune(with_finetuning(method="adversarial"), store, tmp_path, None)


def test_pretraining(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, PretrainingModule, 4, FAILURES["torch on a CPU"])
    data = PretrainingData(store, experiment.model, experiment.pretraining, experiment.seed)
    tokens = data.stream.batch(3).tokens.numel()
    expected = f"step 4, whose batch has {tokens} tokens .* --pretraining.batch_size 3, --pretraining.window 4"
    with pytest.raises(InputError, match=expected):
        runs.pretrain(experiment, store, tmp_path)
    assert load_file(tmp_path / LAST)["global_step"] == 3


def test_other_errors_stay_what_they_are(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, PretrainingModule, 2, lambda: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        runs.pretrain(experiment, store, tmp_path)
