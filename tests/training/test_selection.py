"""Which checkpoint is the best one, on a given sequence of validations, and the temperature that it carries."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from readers import curves

from textadv.checkpoints import BEST, LAST, load_classifier, load_file
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.evaluation.evaluate import class_logits
from textadv.settings import Experiment, FinetuningSettings
from textadv.training import checks, finetuning, runs
from textadv.training.finetuning import FinetuningModule
from textadv.training.selection import ERROR, MACRO_F1, Measure, choose_measure

# Confusion matrices, row by row, of validations after 2, 4, 6 and 8 steps: the error falls first, macro-F1 later.
VALIDATIONS = {2: [15, 0, 5, 0], 4: [16, 0, 4, 0], 6: [12, 4, 1, 3], 8: [11, 5, 2, 2]}
ERRORS = {2: 25.0, 4: 20.0, 6: 25.0, 8: 35.0}
Finetune = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("selection", "counts", "measure", "reason"),
    [
        ("auto", [10, 10], ERROR, ""),
        ("auto", [15, 10], ERROR, ""),
        ("auto", [16, 10], MACRO_F1, "16 of class 'a' and 10 of 'b'"),
        ("auto", [3, 40, 12], MACRO_F1, "40 of class 'b' and 3 of 'a'"),
        ("auto", [4, 0], MACRO_F1, "4 of class 'a' and 0 of 'b'"),
        ("auto", [0, 0], ERROR, ""),
        ("error", [90, 10], ERROR, "--finetuning.selection error"),
        ("macro_f1", [10, 10], MACRO_F1, "--finetuning.selection macro_f1"),
    ],
)
def test_uneven_classes_are_selected_for_by_macro_f1(
    selection: Any, counts: list[int], measure: Measure, reason: str
) -> None:
    chosen, why = choose_measure(FinetuningSettings(selection=selection), counts, "abc")
    assert chosen is measure
    assert reason in why


@pytest.fixture
def finetune(store: TokenStore, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finetune:
    """Train 8 steps into a folder, with the validations above; uneven: those of one class select."""

    def scripted(module: FinetuningModule) -> None:
        cells = VALIDATIONS[module.global_step]
        module.validation_sums = torch.tensor([1.0, *cells], dtype=torch.float64)
        end(module)

    end = FinetuningModule.on_validation_epoch_end
    monkeypatch.setattr(FinetuningModule, "on_validation_epoch_end", scripted)

    def run(folder: str, resume: bool = False, uneven: bool = True, **changes: Any) -> dict[str, Any]:
        validation = store.splits["validation"]
        if uneven:
            validation = replace(validation, labels=validation.labels * 0)
        corpus = replace(store, splits=store.splits | {"validation": validation})
        settings = replace(experiment.finetuning, **({"method": "none", "steps": 8, "validate_every": 2} | changes))
        path = tmp_path / folder
        resumed = path / LAST if resume else None
        return runs.finetune(replace(experiment, finetuning=settings), corpus, path, None, resumed)

    return run


def step_of(path: Path) -> int:
    return int(load_file(path)["global_step"])


def test_the_checkpoint_with_the_largest_macro_f1_is_kept(
    finetune: Finetune, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = finetune("auto")
    line = "textadv: macro-F1 selects the checkpoint, not the error (the labels that select are 4 of class 'neg' and 0"
    assert capsys.readouterr().err.count(line) == 1
    assert step_of(tmp_path / "auto" / BEST) == 6
    assert figures["selection"] == "macro_f1"
    assert figures["validation_error"] == ERRORS[6]
    assert figures["validation_macro_f1"] == pytest.approx((24 / 29 + 6 / 11) / 2)
    rows = [row for row in curves(tmp_path / "auto") if row["validation_error"]]
    assert [float(row["validation_error"]) for row in rows] == list(ERRORS.values())
    assert all(row["validation_macro_f1"] for row in rows)


@pytest.mark.parametrize("case", [{"uneven": False}, {"selection": "error"}])
def test_the_checkpoint_with_the_smallest_error_is_kept(
    finetune: Finetune, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: dict[str, Any]
) -> None:
    """With even classes, and nothing is said then."""
    figures = finetune("error", **case)
    assert "macro-F1" not in capsys.readouterr().err
    assert step_of(tmp_path / "error" / BEST) == 4
    assert (figures["selection"], figures["validation_error"]) == ("error", ERRORS[4])


def test_patience_counts_validations_without_a_larger_macro_f1(finetune: Finetune) -> None:
    """The error gets worse after step 4, macro-F1 better until step 6."""
    assert finetune("error", selection="error", patience=1)["steps"] == 6
    assert finetune("macro_f1", patience=1)["steps"] == 8


def test_a_resumed_run_selects_alike(finetune: Finetune, tmp_path: Path) -> None:
    whole = finetune("whole")
    finetune("parts", steps=6)
    parts = finetune("parts", resume=True)
    assert step_of(tmp_path / "parts" / BEST) == 6
    names = ("selection", "validation_error", "validation_macro_f1", "metrics")
    assert {name: parts[name] for name in names} == {name: whole[name] for name in names}
    with pytest.raises(InputError, match=r"other settings: finetuning\.selection$"):
        finetune("parts", resume=True, selection="error")


def test_the_temperature_is_that_of_each_checkpoint(
    finetune: Finetune, store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fitted in the validation that a checkpoint follows, on its logits, and the weights stay as they are."""
    without = finetune("without")
    fitted: list[tuple[Any, Any]] = []

    def fit(logits: Any, labels: Any) -> float:
        fitted.append((logits, labels))
        return 1.0 + len(fitted)

    monkeypatch.setattr(finetuning, "fit_temperature", fit)
    figures = finetune("with", temperature_scaling=True)
    rows = [row for row in curves(tmp_path / "with") if row["validation_error"]]
    assert [float(row["temperature"]) for row in rows] == [2.0, 3.0, 4.0, 5.0]
    best, last, plain = (load_classifier(tmp_path / name) for name in (f"with/{BEST}", f"with/{LAST}", "without"))
    assert (figures["temperature"], best.temperature, last.temperature, plain.temperature) == (4.0, 4.0, 5.0, 1.0)
    assert without["temperature"] is None
    assert "temperature" not in plain.card
    split = store.splits["validation"]
    logits, labels = fitted[2]
    order = np.lexsort(logits.T)
    expected = class_logits(best.classifier, split)
    np.testing.assert_allclose(logits[order], expected[np.lexsort(expected.T)], atol=1e-6)
    assert labels.tolist() == [0, 0, 0, 0]
    for name, value in plain.classifier.state_dict().items():
        assert torch.equal(value, best.classifier.state_dict()[name])


def test_a_run_that_goes_on_keeps_the_temperature_until_the_next_validation(
    finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "fit_temperature", lambda logits, labels: 1.75)
    finetune("run", steps=4, temperature_scaling=True)
    cards: list[Any] = []
    monkeypatch.setattr(FinetuningModule, "on_train_start", lambda module: cards.append(dict(module.card)))
    finetune("run", resume=True, temperature_scaling=True)
    assert cards[0]["temperature"] == 1.75


def test_a_temperature_needs_labels_that_select(
    experiment: Experiment, store: TokenStore, with_finetuning: Callable[..., Experiment]
) -> None:
    wanted = with_finetuning(temperature_scaling=True)
    checks.check_finetuning(wanted, store)
    none = replace(wanted, data=replace(wanted.data, validation_labels=0))
    with pytest.raises(InputError, match=r"^--finetuning\.temperature_scaling: needs labels that select") as refused:
        checks.check_finetuning(none, store)
    assert "\n" not in str(refused.value)


def test_labels_that_are_all_right_are_told(
    finetune: Finetune, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "fit_temperature", lambda logits, labels: 1.0)
    assert finetune("right", temperature_scaling=True)["temperature"] == 1
    assert capsys.readouterr().err.count("the temperature stays 1: all 4 labels that select are predicted right") == 1
