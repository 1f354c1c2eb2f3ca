"""Two processes on CPUs (gloo) against one: the same losses, the same stops, the same resumed runs."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers import curves, equal, tensors

from textadv.checkpoints import BEST, LAST, load_file
from textadv.corpus.datamodules import FinetuningData
from textadv.corpus.store import Split, TokenStore
from textadv.settings import Experiment

STEPS = 20
DETERMINISTIC = {"dropout": 0.0, "steps": STEPS, "validate_every": 7}
METHODS = ["none", "random", "adversarial", "vat", "adversarial+vat"]
# Whatever draws random numbers for each row, besides the methods as they are.
VARIANTS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.3},
    "a rank without words": {"dropout": 0.3, "batch_size": 2, "unlabeled_batch_size": 2},
    "power iteration": {"method": "vat", "vat_direction": "power_iteration", "num_power_iterations": 1},
    "rfgsm": {"method": "adversarial", "adversary": "rfgsm-l2"},
    "pgd": {"method": "adversarial", "adversary": "pgd-linf", "num_steps": 2},
    "pgd l2": {"method": "adversarial", "adversary": "pgd-l2", "num_steps": 2},
    "interpretable": {"adversary": "interpretable-l2", "num_neighbours": 3, "dropout": 0.3},
    "entropy": {"method": "none", "entropy_weight": 0.7},
    "target": {"method": "vat", "vat_target": 0.001, "vat_epsilon": 100.0},
    "pseudo-labels": {"balance_weight": 0.5, "pseudo_label_weight": 1.0},
    "teacher": {"pseudo_label_weight": 1.0, "teacher_share": 0.6},
    "probe": {"head_start": "probe"},
    "uneven classes": {"class_weights": "balanced", "selection": "macro_f1", "temperature_scaling": True},
}
LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "full softmax": {"candidates": 0},
    "sampled softmax": {},
    "dropout": {"dropout": 0.2},
    "tied softmax": {"tied_softmax": True},
}

Together = Callable[..., Any]


@pytest.fixture(scope="module")
def odd_store() -> Callable[[TokenStore, Callable[..., Split]], TokenStore]:
    def make(store: TokenStore, make_split: Callable[..., Split]) -> TokenStore:
        validation = make_split([5, 2, 7, 1, 4, 9, 3], [0, 1, 0, 1, 1, 0, 0], first_word=200)
        return replace(store, splits=store.splits | {"validation": validation})

    return make


def with_uneven_classes(store: TokenStore) -> TokenStore:
    """The same texts, of which 3 in 12 are of the second class."""
    train = replace(store.splits["train"], labels=np.array([0, 0, 0, 1] * 3))
    return replace(store, splits=store.splits | {"train": train})


def jobs(experiment: Experiment, store: TokenStore, folder: Path) -> list[tuple[Any, ...]]:
    """All that is to be the same; batches of 3 + 3 or 2 documents and 5 lanes, which two ranks cannot divide evenly."""
    experiment = replace(experiment, trainer=replace(experiment.trainer, precision="64-true"))
    found = []
    cases = {method: {"method": method} for method in METHODS} | VARIANTS
    for name, changes in cases.items():
        sizes = {"batch_size": 3, "unlabeled_batch_size": 3, "patience": 100}
        settings = replace(experiment.finetuning, **(DETERMINISTIC | sizes | changes))
        corpus = with_uneven_classes(store) if name == "uneven classes" else store
        linear = {"head_size": 0} if name == "probe" else {}
        changed = replace(experiment, finetuning=settings, model=replace(experiment.model, **linear))
        found.append((name, "finetune", changed, corpus, folder / name, None))
    for name, changes in LANGUAGE_MODELS.items():
        lm = replace(experiment.pretraining, **(DETERMINISTIC | {"batch_size": 5} | changes))
        model = replace(experiment.model, bidirectional=name == "dropout")
        changed = replace(experiment, pretraining=lm, model=model)
        found.append((f"lm, {name}", "pretrain", changed, store, folder / f"lm, {name}", None))
    return found


def assert_equal_rows(outcome: Any, expected: Any) -> None:
    """What is logged is the same, but for rounding."""
    assert [row.keys() for row in outcome.logged] == [row.keys() for row in expected.logged], outcome.name
    for row, wanted in zip(outcome.logged, expected.logged, strict=True):
        assert row == pytest.approx(wanted, rel=0, abs=1e-10), (outcome.name, row, wanted)


def test_two_processes_compute_what_one_does(
    train_together: Together,
    experiment: Experiment,
    store: TokenStore,
    make_split: Callable[..., Split],
    odd_store: Any,
    tmp_path: Path,
) -> None:
    """Twenty steps each, one after another in the same processes, as `quickstart` trains; validation on 7 documents."""
    store = odd_store(store, make_split)
    (one,) = train_together(1, *jobs(experiment, store, tmp_path / "one"))
    two = train_together(2, *jobs(experiment, store, tmp_path / "two"))
    assert [one.code, *(rank.code for rank in two)] == [0, 0, 0]
    assert len(one.outcomes) == len(METHODS) + len(VARIANTS) + len(LANGUAGE_MODELS)
    for expected, *found in zip(one.outcomes, *(rank.outcomes for rank in two), strict=True):
        assert len(expected.losses()) == STEPS
        assert len(expected.logged) > STEPS
        assert len(set(expected.losses())) == STEPS
        for outcome in found:  # what is logged is the same on every rank
            assert_equal_rows(outcome, expected)
    assert len(curves(tmp_path / "one" / "vat")) == len(curves(tmp_path / "two" / "vat"))


@pytest.mark.parametrize(("ranks", "parts"), [(1, 3), (2, 2)])
def test_micro_batches_compute_what_whole_ones_do(
    ranks: int, parts: int, train_together: Together, experiment: Experiment, store: TokenStore, tmp_path: Path
) -> None:
    """Batches of 7 and 5 documents, in two parts each, and in three; the parts of two ranks have 1 or 2 documents."""

    def trained(ranks: int, parts: int) -> Any:
        changes = {"batch_size": 7, "unlabeled_batch_size": 5, "micro_batches": parts}
        given = []
        for name, kind, one, corpus, folder, resume in jobs(experiment, store, tmp_path / f"{ranks} {parts}"):
            if kind == "finetune" and one.finetuning.whole_batch_setting is None:
                divided = replace(one, finetuning=replace(one.finetuning, **changes))
                given.append((name, kind, divided, corpus, folder, resume))
        return train_together(ranks, *given)

    (whole,), divided = trained(1, 1), trained(ranks, parts)
    assert [whole.code, *(rank.code for rank in divided)] == [0] * (1 + ranks)
    assert len(whole.outcomes) > len(METHODS) + 5
    for expected, *found in zip(whole.outcomes, *(rank.outcomes for rank in divided), strict=True):
        assert len(set(expected.losses())) == STEPS
        for outcome in found:
            assert_equal_rows(outcome, expected)


@pytest.fixture(params=["pretrain", "finetune"])
def train(request: pytest.FixtureRequest, experiment: Experiment, store: TokenStore, train_together: Together) -> Any:
    """Train on two ranks into a folder: 7 steps, validation after 2, 4, 6 and 7."""
    changes: dict[str, Any] = {"steps": 7, "validate_every": 2}
    settings = replace(
        experiment,
        pretraining=replace(experiment.pretraining, **changes),
        finetuning=replace(experiment.finetuning, **changes),
    )

    def run(folder: Path, resume: bool = False, ranks: int = 2, **fault: Any) -> Any:
        checkpoint = folder / LAST if resume else None
        return train_together(ranks, ("job", request.param, settings, store, folder, checkpoint), **fault)

    return run


WHOLE: dict[str, Any] = {}  # undisturbed runs


@pytest.fixture
def whole(request: pytest.FixtureRequest, train: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Losses, final checkpoint, best checkpoint and curves of an undisturbed run; it is trained once."""
    kind = request.node.callspec.params["train"]
    if kind not in WHOLE:
        folder = tmp_path_factory.mktemp(f"whole-{kind}")
        ranks = train(folder)
        assert [rank.code for rank in ranks] == [0, 0]
        WHOLE[kind] = {"losses": ranks[0].outcomes[0].losses()} | left_behind(folder)
    return WHOLE[kind]


def left_behind(folder: Path) -> dict[str, Any]:
    best = tensors(folder / BEST) if (folder / BEST).exists() else None
    return {"last": tensors(folder / LAST), "best": best, "curves": curves(folder)}


def assert_goes_on(train: Any, whole: Any, folder: Path) -> None:
    """From its checkpoint, exactly."""
    step = load_file(folder / LAST)["global_step"]
    ranks = train(folder, resume=True)
    assert [rank.code for rank in ranks] == [0, 0], ranks
    assert ranks[0].outcomes[0].losses() == whole["losses"][step:]
    found = left_behind(folder)
    assert all(equal(found[name], whole[name]) for name in found)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("signal", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("place", ["training_step", "validation_step"])
def test_a_signal_on_any_rank_stops_all(
    train: Any, whole: Any, tmp_path: Path, rank: int, signal: str, code: int, place: str
) -> None:
    step = 2 if place == "training_step" else 4  # after step 3 no validation is due
    ranks = train(tmp_path, rank=rank, place=place, step=step, act=signal)
    assert [one.code for one in ranks] == [code, code]
    step += place == "training_step"
    assert {one.outcomes[0].end for one in ranks} == {
        f"Stopped: stopped by {signal} after step {step}, saved in {tmp_path / LAST}"
    }
    assert load_file(tmp_path / LAST)["global_step"] == step
    assert_goes_on(train, whole, tmp_path)


@pytest.mark.parametrize(("place", "step"), [("training_step", 6), ("validation_step", 7)])
def test_a_signal_at_the_end_stops_all(train: Any, whole: Any, tmp_path: Path, place: str, step: int) -> None:
    """In the last step or in the last validation, which is then run anew."""
    ranks = train(tmp_path, rank=1, place=place, step=step, act="SIGTERM")
    assert [one.code for one in ranks] == [143, 143]
    assert load_file(tmp_path / LAST)["global_step"] == 7
    assert_goes_on(train, whole, tmp_path)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_other_one(train: Any, whole: Any, tmp_path: Path, rank: int) -> None:
    started = time.monotonic()
    ranks = train(tmp_path, rank=rank, place="training_step", step=3, act="SIGKILL")
    assert time.monotonic() - started < 60
    assert ranks[rank].code == -9
    assert ranks[1 - rank].code == 1
    assert ranks[1 - rank].outcomes[0].end == (
        f"ProcessLostError: rank {1 - rank}: another process of this run is gone; what has been saved is kept"
    )
    assert load_file(tmp_path / LAST)["global_step"] == 2
    assert_goes_on(train, whole, tmp_path)


@pytest.mark.parametrize("train", ["finetune"], indirect=True)
def test_wrong_input_on_one_rank_does_not_hang_the_other(train: Any, tmp_path: Path) -> None:
    ranks = train(tmp_path, rank=1, place="training_step", step=1, act="input")
    ends = [rank.outcomes[0].end for rank in ranks]
    assert ends[1] == "InputError: no such thing"
    assert "another process of this run is gone" in ends[0]


def test_what_is_not_finite_on_one_rank_stops_all(
    train: Any, whole: Any, tmp_path: Path, experiment: Experiment, store: TokenStore
) -> None:
    ranks = train(tmp_path, rank=1, place="training_step", step=3, act="nan")
    (end,) = {rank.outcomes[0].end for rank in ranks}
    assert end.startswith("InputError: stopped before step 4 changed any weight: the loss is not finite.")
    if "lanes" not in end:
        data = FinetuningData(store, experiment.data, experiment.finetuning, experiment.seed)
        rows = " ".join(map(str, data.labeled.rows(3)[1::2].tolist()))
        assert f"Batch: rank 1: labeled rows {rows} of train, unlabeled rows" in end
    assert "rank 0" not in end
    assert load_file(tmp_path / LAST)["global_step"] == 2
    assert_goes_on(train, whole, tmp_path)


@pytest.mark.parametrize("train", ["pretrain"], indirect=True)
def test_a_run_goes_on_with_another_number_of_processes(train: Any, whole: Any, tmp_path: Path) -> None:
    train(tmp_path, rank=0, place="training_step", step=2, act="SIGTERM")
    (one,) = train(tmp_path, resume=True, ranks=1)
    assert one.code == 0
    assert one.outcomes[0].losses() == pytest.approx(whole["losses"][3:], rel=1e-4)


@pytest.mark.parametrize("train", ["finetune"], indirect=True)
def test_more_processes_than_documents(train: Any, tmp_path: Path) -> None:
    ranks = train(tmp_path, ranks=5)
    assert {rank.outcomes[0].end for rank in ranks} == {
        "InputError: --trainer.devices: 5 processes cannot share 4 labeled documents per step"
    }
