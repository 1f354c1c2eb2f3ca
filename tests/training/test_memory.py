"""Memory runs out: one line that says what to lower, and the checkpoint from before is whole."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from stepping import Make, step
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
    "a size beyond 64 bits": lambda: torch.empty(2**62),
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
        "--finetuning.unlabeled_batch_size 5, --finetuning.window 4, or raise --finetuning.micro_batches 1. "
        "The checkpoint before it is kept"
    )
    assert load_file(tmp_path / LAST)["global_step"] == 3


def test_a_mean_over_the_whole_batch_leaves_no_parts_to_advise(
    with_finetuning: Callable[..., Experiment], store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, FinetuningModule, 1, FAILURES["Python"])
    with pytest.raises(InputError, match=r"--finetuning.window 4\. The"):
        runs.finetune(with_finetuning(balance_weight=0.5), store, tmp_path, None)


def test_without_unlabeled_text(
    with_finetuning: Callable[..., Experiment], store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, FinetuningModule, 1, FAILURES["Python"])
    with pytest.raises(InputError, match=r"step 1, .* lower --finetuning.batch_size 4, --finetuning.window 4, or"):
        runs.finetune(with_finetuning(method="adversarial"), store, tmp_path, None)


def test_micro_batches_need_less_of_it(make: Make, store: TokenStore) -> None:
    def peak(parts: int) -> int:
        """Numbers that the graph keeps at most at a time, besides weights and their gradients."""
        module = make(batch_size=8, unlabeled_batch_size=8, micro_batches=parts)
        module.trainer = SimpleNamespace(world_size=1, global_rank=0, global_step=0)  # type: ignore[assignment]
        kept, most = 0, 0
        weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
        shapes = {parameter.shape for parameter in module.parameters()}

        class Kept:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal kept, most
                self.tensor = tensor
                is_of_a_weight = tensor.shape in shapes or tensor.untyped_storage().data_ptr() in weights
                self.size = 0 if is_of_a_weight else tensor.numel()
                kept += self.size
                most = max(most, kept)

            def __del__(self) -> None:
                nonlocal kept
                kept -= self.size

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda one: one.tensor):
            step(module, store).backward()
        return most

    assert peak(4) < 0.5 * peak(1)


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
