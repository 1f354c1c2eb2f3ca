import csv
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy
from readers import curves
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from textadv.checkpoints import BEST, LAST, load_classifier, network_weights, read_checkpoint
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.models.classifier import Classifier
from textadv.models.factory import build_classifier
from textadv.models.layers import LAYERS
from textadv.settings import Experiment, TrainerSettings
from textadv.training import checks, runs


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LOG_EVERY", 1)


def losses(folder: Path) -> list[str]:
    return [row["loss"] for row in curves(folder) if row["loss"]]


def weights(folder: Path, kind: str, name: str = LAST) -> dict[str, torch.Tensor]:
    return network_weights(read_checkpoint(folder / name, kind))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_pretraining_lowers_the_loss_and_repeats_itself(
    experiment: Experiment, store: TokenStore, tmp_path: Path
) -> None:
    longer = replace(experiment, pretraining=replace(experiment.pretraining, steps=60, validate_every=30))
    figures = runs.pretrain(longer, store, tmp_path / "a")
    runs.pretrain(longer, store, tmp_path / "b")
    first = losses(tmp_path / "a")
    assert len(first) == 60
    assert first == losses(tmp_path / "b")
    assert sum(map(float, first[-10:])) < sum(map(float, first[:10]))
    assert figures["steps"] == 60
    assert figures["validation_perplexity"] > 1
    assert figures["tokens_per_second"] > 0


def test_another_seed_gives_other_losses(experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    runs.pretrain(experiment, store, tmp_path / "a")
    runs.pretrain(replace(experiment, seed=1), store, tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "b")


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_resumed_pretraining_equals_the_undisturbed_run(
    experiment: Experiment, store: TokenStore, tmp_path: Path, bidirectional: bool, kind: str
) -> None:
    experiment = replace(experiment, model=replace(experiment.model, encoder=kind, bidirectional=bidirectional))
    runs.pretrain(experiment, store, tmp_path / "whole")
    short = replace(experiment, pretraining=replace(experiment.pretraining, steps=3))
    runs.pretrain(short, store, tmp_path / "parts")
    runs.pretrain(experiment, store, tmp_path / "parts", tmp_path / "parts" / LAST)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert same(weights(tmp_path / "whole", "language_model"), weights(tmp_path / "parts", "language_model"))


def test_resumed_finetuning_equals_the_undisturbed_run(
    experiment: Experiment, store: TokenStore, tmp_path: Path
) -> None:
    runs.finetune(experiment, store, tmp_path / "whole", None)
    short = replace(experiment, finetuning=replace(experiment.finetuning, steps=3))
    runs.finetune(short, store, tmp_path / "parts", None)
    runs.finetune(experiment, store, tmp_path / "parts", None, tmp_path / "parts" / LAST)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert same(weights(tmp_path / "whole", "classifier"), weights(tmp_path / "parts", "classifier"))


def test_finetuning_starts_from_the_pretrained_encoder(
    experiment: Experiment, store: TokenStore, tmp_path: Path
) -> None:
    runs.pretrain(experiment, store, tmp_path / "lm")
    frozen = replace(experiment, finetuning=replace(experiment.finetuning, learning_rate=0.0))
    runs.finetune(frozen, store, tmp_path / "ft", tmp_path / "lm")
    pretrained, tuned = weights(tmp_path / "lm", "language_model"), weights(tmp_path / "ft", "classifier")
    encoder = [name for name in pretrained if name.startswith("encoder.")]
    assert {name for name in tuned if name.startswith("encoder.")} == set(encoder)
    for name in encoder:
        torch.testing.assert_close(tuned[name], pretrained[name], rtol=1e-6, atol=1e-7)


def test_encoder_of_another_size_is_refused(experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    runs.pretrain(experiment, store, tmp_path / "lm")
    wider = replace(experiment, model=replace(experiment.model, hidden_size=7))
    with pytest.raises(InputError, match="sizes"):
        runs.finetune(wider, store, tmp_path / "ft", tmp_path / "lm")


def test_encoder_with_another_tokenizer_is_refused(experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    runs.pretrain(experiment, store, tmp_path / "lm")
    other = replace(store, tokenizer_fingerprint="other")
    with pytest.raises(InputError, match="another tokenizer"):
        runs.finetune(experiment, other, tmp_path / "ft", tmp_path / "lm")


def test_best_checkpoint_is_the_weight_average(experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    figures = runs.finetune(experiment, store, tmp_path, None)
    checkpoint = read_checkpoint(tmp_path / BEST, "classifier")
    current = {name.removeprefix("model."): value for name, value in checkpoint["current_model_state"].items()}
    assert not same(network_weights(checkpoint), current)
    assert figures["checkpoint"] == str(tmp_path / BEST)
    assert same(dict(load_classifier(tmp_path).classifier.state_dict()), network_weights(checkpoint))


def test_early_stopping(experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    still = replace(
        experiment,
        finetuning=replace(experiment.finetuning, steps=40, validate_every=2, patience=3, learning_rate=0.0),
    )
    figures = runs.finetune(still, store, tmp_path, None)
    assert figures["steps"] == 8  # the first validation is the best, three more without improvement


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_devices_that_are_not_there(experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    gpu = replace(experiment, trainer=replace(experiment.trainer, accelerator="gpu", devices=2))
    with pytest.raises(InputError, match=r"^--trainer\.accelerator gpu: torch finds no cuda device") as error:
        runs.pretrain(gpu, store, tmp_path)
    assert "\n" not in str(error.value)


def test_processes_without_work_are_refused_before_a_language_model_is_trained(
    experiment: Experiment, store: TokenStore
) -> None:
    checks.check_finetuning(experiment, store)
    several = replace(experiment, trainer=TrainerSettings(devices=3, num_nodes=100))
    with pytest.raises(InputError, match=r"^--trainer.devices: 300 processes cannot share \d+ labeled documents per"):
        checks.check_finetuning(several, store)


def test_what_slurm_has_started_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by Lightning's traceback: tasks of a job without a number per node."""
    for name, value in {"NTASKS": "2", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "train"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(InputError, match=r"^--trainer\.accelerator cpu --trainer\.devices 2: .*--ntasks-per-node=2"):
        runs.build_trainer(TrainerSettings(accelerator="cpu", devices=2), [])


def test_bfloat16(with_finetuning: Callable[..., Experiment], store: TokenStore, tmp_path: Path) -> None:
    """Every pass of both trainings, and reading without gradients, under autocast."""
    experiment = with_finetuning(method="adversarial+vat", vat_direction="power_iteration")
    experiment = replace(experiment, trainer=replace(experiment.trainer, precision="bf16-mixed"))
    runs.pretrain(experiment, store, tmp_path / "lm")
    figures = runs.finetune(experiment, store, tmp_path / "ft", tmp_path / "lm" / LAST)
    assert figures["steps"] == 6
    assert all(math.isfinite(float(loss)) for folder in ("lm", "ft") for loss in losses(tmp_path / folder))


METHODS = ["none", "random", "adversarial", "vat", "adversarial+vat"]
# Golden losses: a change that should not alter results shows these. Made by this test on a CPU in float32.
GOLDEN: dict[str, dict[str, list[float]]] = {
    "relu": {
        "none": [0.620826, 0.743886, 0.719833, 0.72719, 0.732041, 0.627875],
        "random": [1.241783, 1.487621, 1.440426, 1.453827, 1.46221, 1.259624],
        "adversarial": [1.245769, 1.492626, 1.444011, 1.45761, 1.469481, 1.262658],
        "vat": [0.620841, 0.743923, 0.719852, 0.727218, 0.732069, 0.627826],
        "adversarial+vat": [1.245784, 1.492651, 1.444029, 1.457629, 1.469504, 1.262669],
    },
    "gelu": {
        "none": [0.610918, 0.748729, 0.726722, 0.734809, 0.73977, 0.618318],
        "random": [1.222115, 1.497378, 1.453868, 1.469567, 1.477869, 1.23981],
        "adversarial": [1.224491, 1.500937, 1.456987, 1.472563, 1.483127, 1.241806],
        "vat": [0.610926, 0.748751, 0.726739, 0.734832, 0.739772, 0.618312],
        "adversarial+vat": [1.2245, 1.500947, 1.456996, 1.472579, 1.483132, 1.241815],
    },
}

# Without dropout, these draw nothing: another way to draw random numbers shows in `GOLDEN`, and not here.
WITHOUT_DRAWS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "none": (
        {"method": "none"},
        [0.613953, 0.746541, 0.733347, 0.734334, 0.743734, 0.612742],
    ),
    "entropy": (
        {"method": "none", "entropy_weight": 0.7},
        [1.096795, 1.229552, 1.21607, 1.217457, 1.226639, 1.095441],
    ),
    "adversarial": (
        {"method": "adversarial"},
        [1.230906, 1.497997, 1.471113, 1.472392, 1.49166, 1.230544],
    ),
    "least likely": (
        {"method": "adversarial", "adversary": "ifgsm-linf-least_likely"},
        [1.238912, 1.495799, 1.468345, 1.469999, 1.489118, 1.238642],
    ),
    "momentum": (
        {"method": "adversarial", "adversary": "mifgsm-l2"},
        [1.231541, 1.498079, 1.471139, 1.472419, 1.49175, 1.231122],
    ),
    "interpretable": (
        {"method": "adversarial", "adversary": "interpretable-l2", "num_neighbours": 3},
        [1.230147, 1.496291, 1.469147, 1.470228, 1.490239, 1.22991],
    ),
    "language model": (
        {"candidates": 0},
        [4.991145, 4.999249, 4.983537, 5.015884, 5.248215, 5.509836],
    ),
}


@pytest.mark.parametrize("name", WITHOUT_DRAWS)
def test_golden_losses_without_random_numbers(
    experiment: Experiment, store: TokenStore, tmp_path: Path, name: str
) -> None:
    changes, expected = WITHOUT_DRAWS[name]
    if name == "language model":
        settings = replace(experiment.pretraining, dropout=0.0, **changes)
        runs.pretrain(replace(experiment, pretraining=settings), store, tmp_path)
    else:
        finetuning = replace(experiment.finetuning, dropout=0.0, **changes)
        runs.finetune(replace(experiment, finetuning=finetuning), store, tmp_path, None)
    measured = [float(loss) for loss in losses(tmp_path)]
    assert measured == pytest.approx(expected, rel=2e-5), measured


@pytest.mark.parametrize("activation", GOLDEN)
@pytest.mark.parametrize("method", METHODS)
def test_golden_losses(
    with_finetuning: Callable[..., Experiment], store: TokenStore, tmp_path: Path, method: str, activation: str
) -> None:
    experiment = with_finetuning(method=method)
    experiment = replace(experiment, model=replace(experiment.model, head_activation=activation))
    runs.finetune(experiment, store, tmp_path, None)
    measured = [float(loss) for loss in losses(tmp_path)]
    assert measured == pytest.approx(GOLDEN[activation][method], rel=2e-5), measured


def test_the_curves(experiment: Experiment, store: TokenStore, tmp_path: Path) -> None:
    """Learning rate and speed with each logged step, and all of it for TensorBoard as well."""
    settings = replace(experiment.finetuning, learning_rate=0.01, learning_rate_decay=0.9, method="adversarial+vat")
    runs.finetune(replace(experiment, finetuning=settings), store, tmp_path, None)
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["loss"]]
    names = ("cross_entropy", "adversarial_loss", "lds", "gradient_norm", "tokens_per_second")
    assert all(float(row[name]) > 0 for row in rows for name in names)
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.01 * 0.9**i for i in range(6)])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {*names, "loss", "learning_rate", "validation_error"} <= set(events.Tags()["scalars"])
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([float(row["loss"]) for row in rows])


def test_without_tensorboard(
    experiment: Experiment, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textadv.training.metrics_file.find_spec", lambda name: None)
    runs.pretrain(experiment, store, tmp_path)
    assert (tmp_path / "metrics.csv").is_file()
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize("dead", [False, True])
def test_zero_gradients_are_told_once(
    experiment: Experiment,
    store: TokenStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dead: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A head of dead units makes the easiest function to be smooth, and nothing is learned there."""
    if dead:
        monkeypatch.setattr(runs, "build_classifier", dead_classifier)
    model = replace(experiment.model, head_activation="relu")
    runs.finetune(replace(experiment, model=model), store, tmp_path, None)
    lines = [line for line in capsys.readouterr().err.splitlines() if "gradient is 0" in line]
    assert len(lines) == dead
    assert not dead or re.match(r"textadv: up to step 3 the gradient is 0 for [89]\d\.\d% of the documents", lines[0])
    with (tmp_path / "metrics.csv").open() as file:
        shares = [float(row["zero_gradients"]) for row in csv.DictReader(file) if row["loss"]]
    assert (min(shares) > 0.5) if dead else (max(shares) == 0)


@pytest.mark.parametrize(("bias", "method", "told"), [(0, "vat", 0), (20, "vat", 1), (20, "adversarial", 0)])
def test_unlabeled_text_in_one_class_is_told_once(
    with_finetuning: Callable[..., Experiment],
    store: TokenStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bias: int,
    method: str,
    told: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a method reads unlabeled text."""

    def biased(*arguments: Any) -> Classifier:
        classifier = build_classifier(*arguments)
        torch.nn.init.constant_(classifier.head[2].bias[1], bias)
        return classifier

    monkeypatch.setattr(runs, "build_classifier", biased)
    runs.finetune(with_finetuning(method=method), store, tmp_path, None)
    lines = [line for line in capsys.readouterr().err.splitlines() if "unlabeled text" in line]
    assert len(lines) == told
    assert not told or re.match(
        r"textadv: up to step 3 the mean prediction on unlabeled text gives 100\.0% to class 'pos', which 50\.0% of "
        r"the labeled texts have",
        lines[0],
    )
    shares = [float(row["largest_class_share"]) for row in curves(tmp_path) if row["loss"] and method == "vat"]
    assert all(share > 0.95 if bias else 0.5 <= share < 0.95 for share in shares)
    assert len(shares) == (6 if method == "vat" else 0)


def dead_classifier(*arguments: Any) -> Classifier:
    """One none of whose hidden units is ever active."""
    classifier = build_classifier(*arguments)
    torch.nn.init.constant_(classifier.head[0].bias, -100.0)
    return classifier


def test_ranks_wait_for_one_that_reads_alone() -> None:
    """For a probe, rank 0 may read for longer than the half an hour after which the others would give it up."""
    machine = TrainerSettings(accelerator="cpu", devices=2)
    strategy = runs.build_trainer(machine, [], logger=False, enable_checkpointing=False).strategy
    assert isinstance(strategy, DDPStrategy)
    assert strategy._timeout == timedelta(days=1)
