"""A run that was broken off anywhere and goes on leaves behind what an undisturbed one does, to the bit."""

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from readers import curves

from textadv.checkpoints import BEST, CARD, LAST, PREVIOUS, load_file, newest_intact, write_checkpoint
from textadv.corpus.store import TokenStore
from textadv.errors import InputError, Stopped
from textadv.settings import Experiment
from textadv.system import durable
from textadv.training import runs
from textadv.training.base import TrainingModule
from textadv.training.finetuning import FinetuningModule
from textadv.training.pretraining import PretrainingModule

Train = Callable[..., dict[str, Any]]


class Killed(BaseException):
    """Ends a run as a kill does: nobody catches it to tidy up."""


def kill() -> None:
    raise Killed


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def broken_off(act: Callable[[], None], number: int, name: str, *owners: Any) -> Iterator[Any]:
    """Kill or stop what runs inside before the given call of a function, if it gets there."""
    with pytest.MonkeyPatch.context() as patch:
        for owner in owners:
            at_call(patch, owner, name, number, act)
        with pytest.raises((Killed, Stopped)) as stop:
            yield stop


def at_call(patch: pytest.MonkeyPatch, owner: Any, name: str, number: int, act: Callable[[], None]) -> None:
    original, calls = getattr(owner, name), [0]

    def wrapped(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            act()
        return original(*arguments, **options)

    patch.setattr(owner, name, wrapped)


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves behind and that another one must leave as well: no paths, no times."""
    last = load_file(folder / LAST)
    for state in last["callbacks"].values():
        for name in [name for name in state if name.endswith("path") or name == "best_k_models"]:
            del state[name]
    del last["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]  # counts a validation that was run anew twice
    files: dict[str, Any] = {"last": last, "metrics": curves(folder)}
    if (folder / BEST).exists():
        best = load_file(folder / BEST)
        files["best"] = {name: best[name] for name in ("state_dict", "current_model_state", "global_step")}
    return files


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two nested values differ in any bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{where}: {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [found for key in a for found in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [found for i, pair in enumerate(zip(a, b, strict=True)) for found in differences(*pair, f"{where}[{i}]")]
    if isinstance(a, torch.Tensor):
        equal = isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    else:
        equal = type(a) is type(b) and a == b
    return [] if equal else [f"{where}: {a} and {b}"]


# In validation after so many steps; a run of 7 steps that validates after every 2 ends with a shorter stretch.
ERRORS = {1: 50.0, 2: 40.0, 4: 30.0, 5: 25.0, 6: 35.0, 7: 32.0, 8: 36.0, 9: 33.0, 10: 20.0}
WHOLE: dict[str, dict[str, Any]] = {}  # what undisturbed runs leave behind, by kind of training


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log each step, and let the validation error go down and up."""
    monkeypatch.setattr(runs, "LOG_EVERY", 1)
    end = FinetuningModule.on_validation_epoch_end

    def scripted(module: FinetuningModule) -> None:
        wrong = 10 * ERRORS[module.global_step]  # of 1,000
        module.validation_sums[1:] = torch.tensor([1000 - wrong, wrong, 0, 0])
        end(module)

    monkeypatch.setattr(FinetuningModule, "on_validation_epoch_end", scripted)


@pytest.fixture(params=["pretrain", "finetune"])
def train(request: pytest.FixtureRequest, experiment: Experiment, store: TokenStore) -> Train:
    """Train into a folder, from its newest intact checkpoint if told so; 7 steps, validation after 2, 4, 6 and 7."""

    def run(folder: Path, resume: bool = False, **changes: Any) -> dict[str, Any]:
        checkpoint = newest_intact(folder)[0] if resume else None
        assert bool(checkpoint) == resume
        changes = {"steps": 7, "validate_every": 2} | changes
        if request.param == "pretrain":
            settings = replace(experiment, pretraining=replace(experiment.pretraining, **changes))
            return runs.pretrain(settings, store, folder, checkpoint)
        settings = replace(experiment, finetuning=replace(experiment.finetuning, **changes))
        return runs.finetune(settings, store, folder, None, checkpoint)

    return run


@pytest.fixture
def whole(request: pytest.FixtureRequest, train: Train, tmp_path: Path) -> dict[str, Any]:
    """What an undisturbed run leaves behind; it is trained once for all tests."""
    kind = request.node.callspec.params["train"]
    if kind not in WHOLE:
        figures = train(tmp_path / "whole")
        WHOLE[kind] = outcome(tmp_path / "whole") | {"figures": figures["metrics"]}
    return WHOLE[kind]


def resumed(train: Train, folder: Path, **changes: Any) -> dict[str, Any]:
    """Go on, and what is left behind then."""
    figures = train(folder, resume=True, **changes)
    return outcome(folder) | {"figures": figures["metrics"]}


def test_an_undisturbed_run(train: Train, whole: dict[str, Any], tmp_path: Path) -> None:
    """Validates as often as it should, and is compared by more than nothing."""
    assert len(whole["metrics"]) == 7 + 4
    assert whole["last"]["global_step"] == 7
    assert "best" not in whole or whole["best"]["global_step"] == 4
    train(tmp_path, steps=4)
    assert differences(whole, outcome(tmp_path))


@pytest.mark.parametrize("step", [3, 6, 7])
def test_killed_in_a_step(train: Train, whole: dict[str, Any], tmp_path: Path, step: int) -> None:
    with broken_off(kill, step, "on_before_backward", TrainingModule):
        train(tmp_path)
    assert differences(whole, resumed(train, tmp_path)) == []


@pytest.mark.parametrize("step", [1, 2, 5, 6, 7])
def test_stopped_in_a_step(train: Train, whole: dict[str, Any], tmp_path: Path, step: int) -> None:
    with broken_off(terminate, step, "on_before_backward", TrainingModule) as stop:
        train(tmp_path)
    assert (stop.value.code, stop.value.step) == (143, step)
    assert load_file(tmp_path / LAST)["global_step"] == step
    assert differences(whole, resumed(train, tmp_path)) == []


@pytest.mark.parametrize("act", [kill, terminate])
@pytest.mark.parametrize("number", [2, 3, 4])
def test_broken_off_in_a_validation(
    train: Train, whole: dict[str, Any], tmp_path: Path, act: Callable[[], None], number: int
) -> None:
    """In the second one, the one before the last step, and the last one, behind the last step."""
    with broken_off(act, number, "on_validation_epoch_start", PretrainingModule, FinetuningModule):
        train(tmp_path)
    assert load_file(tmp_path / LAST)["global_step"] == [2, 4, 6, 7][number - 1 - (act is kill)]
    assert differences(whole, resumed(train, tmp_path)) == []


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7])
def test_killed_in_a_save(train: Train, whole: dict[str, Any], tmp_path: Path, number: int) -> None:
    """Before and between the renames of three saves, and between the best and the last checkpoint."""
    with broken_off(kill, number, "_rename", durable):
        train(tmp_path)
    assert differences(whole, resumed(train, tmp_path)) == []


def test_a_full_disk(train: Train, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and what was saved before is there to go on from."""
    write = durable._write_synced

    def full(path: Path, content: bytes) -> None:
        if (tmp_path / LAST).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "_write_synced", full)
        with pytest.raises(InputError, match=r"\.ckpt: cannot be written \(No space left on device\); what was saved"):
            train(tmp_path)
    assert differences(whole, resumed(train, tmp_path)) == []


def test_stopped_again_and_again(train: Train, whole: dict[str, Any], tmp_path: Path) -> None:
    """In every step, or in the validation that is due first."""
    sessions = 0
    figures: dict[str, Any] = {}
    while not figures:
        with pytest.MonkeyPatch.context() as patch:
            if sessions % 2:
                at_call(patch, TrainingModule, "on_before_backward", 1, terminate)
            else:
                for kind in (PretrainingModule, FinetuningModule):
                    at_call(patch, kind, "on_validation_epoch_start", 1, terminate)
            try:
                figures = train(tmp_path, resume=sessions > 0)
            except Stopped:
                sessions += 1
                assert sessions < 30
    assert sessions >= 4
    assert differences(whole, outcome(tmp_path) | {"figures": figures["metrics"]}) == []


def test_a_complete_run_is_left_as_it_is(train: Train, whole: dict[str, Any], tmp_path: Path) -> None:
    train(tmp_path)
    before = (tmp_path / LAST).stat().st_mtime_ns
    assert differences(whole, resumed(train, tmp_path)) == []
    assert (tmp_path / LAST).stat().st_mtime_ns == before


def test_killed_after_the_last_save(train: Train, whole: dict[str, Any], tmp_path: Path) -> None:
    with broken_off(kill, 1, "on_train_end", TrainingModule):
        train(tmp_path)
    before = (tmp_path / LAST).stat().st_mtime_ns
    assert differences(whole, resumed(train, tmp_path)) == []
    assert (tmp_path / LAST).stat().st_mtime_ns == before


@pytest.mark.parametrize(("steps", "validations"), [(1, [1]), (5, [4, 5])])
def test_the_last_step_is_measured_and_saved(train: Train, tmp_path: Path, steps: int, validations: list[int]) -> None:
    """Also where there is but one validation, and where it is that of the best checkpoint."""
    figures = train(tmp_path, steps=steps, validate_every=4)
    assert [int(row["step"]) + 1 for row in curves(tmp_path) if not row["loss"]] == validations
    assert figures["steps"] == steps
    for name in (LAST, BEST):
        assert not (tmp_path / name).exists() or load_file(tmp_path / name)["global_step"] == steps
    if "validation_error" in figures:
        assert figures["validation_error"] == figures["metrics"]["validation_error"] == ERRORS[steps]


TRAINED = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "carried_states")


def test_more_steps(train: Train, tmp_path: Path) -> None:
    """Steps are those of an undisturbed run of more; the validation that was the last one remains in the curves."""
    train(tmp_path / "whole", steps=9)
    train(tmp_path / "parts")
    train(tmp_path / "parts", resume=True, steps=9)
    whole, parts = outcome(tmp_path / "whole"), outcome(tmp_path / "parts")
    for name in TRAINED:
        assert differences(whole["last"].get(name), parts["last"].get(name)) == []
    extra = [row for row in parts["metrics"] if row not in whole["metrics"]]
    assert [row["step"] for row in extra] == ["6"]
    assert [row for row in parts["metrics"] if row not in extra] == whole["metrics"]


def test_more_steps_before_the_last_validation(train: Train, tmp_path: Path) -> None:
    """What is no longer the last step is not validated."""
    train(tmp_path / "whole", steps=9)
    with broken_off(terminate, 4, "on_validation_epoch_start", PretrainingModule, FinetuningModule):
        train(tmp_path / "parts")
    train(tmp_path / "parts", resume=True, steps=9)
    assert differences(outcome(tmp_path / "whole"), outcome(tmp_path / "parts")) == []


def test_fewer_steps(train: Train, tmp_path: Path) -> None:
    """A step that is the last one in hindsight is validated as well."""
    train(tmp_path / "whole", steps=5)
    with broken_off(terminate, 5, "on_before_backward", TrainingModule):
        train(tmp_path / "parts")
    whole = outcome(tmp_path / "whole")
    for steps in (4, 5):
        shutil.copytree(tmp_path / "parts", tmp_path / str(steps))
        assert train(tmp_path / str(steps), resume=True, steps=steps)["steps"] == 5
        found = outcome(tmp_path / str(steps))
        found["last"][CARD] = whole["last"][CARD]  # which names the number of steps
        assert differences(whole, found) == []


def test_a_run_that_was_moved(train: Train, whole: dict[str, Any], tmp_path: Path) -> None:
    with broken_off(terminate, 5, "on_before_backward", TrainingModule):
        train(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert differences(whole, resumed(train, tmp_path / "there")) == []
    assert not (tmp_path / "here").exists()


def test_a_damaged_checkpoint_is_passed_over(train: Train, whole: dict[str, Any], tmp_path: Path) -> None:
    """Also twice: the damaged one does not push the intact one out."""
    train(tmp_path)
    for path in (tmp_path / LAST, tmp_path / BEST):
        if path.exists():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    assert newest_intact(tmp_path)[0] == tmp_path / PREVIOUS
    with broken_off(kill, 1, "_rename", durable):
        train(tmp_path, resume=True)
    found = resumed(train, tmp_path)
    if "best" in found:  # lost for good: the one after it is the best that there is
        assert found["best"]["global_step"] == 7
    expected = deepcopy(whole)
    for one in (found, expected):
        one["last"]["callbacks"] = one["best"] = None
    assert differences(expected, found) == []


@pytest.mark.parametrize("train", ["finetune"], indirect=True)
def test_of_equally_good_checkpoints_the_last_is_kept(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ERRORS, 6, ERRORS[4])
    train(tmp_path, steps=8)
    assert outcome(tmp_path)["best"]["global_step"] == 6


@pytest.mark.parametrize("train", ["finetune"], indirect=True)
def test_early_stopping_outlives_the_run(train: Train, tmp_path: Path) -> None:
    assert train(tmp_path / "a", steps=10, patience=1)["steps"] == 6
    with broken_off(kill, 6, "on_before_backward", TrainingModule):
        train(tmp_path / "b", steps=10, patience=1)
    assert train(tmp_path / "b", resume=True, steps=10, patience=1)["steps"] == 6
    assert differences(outcome(tmp_path / "a"), outcome(tmp_path / "b")) == []
    assert train(tmp_path / "b", resume=True, steps=10, patience=1)["steps"] == 6
    longer = train(tmp_path / "b", resume=True, steps=10, patience=5)
    assert (longer["steps"], longer["validation_error"]) == (10, 20.0)


@pytest.mark.parametrize("train", ["finetune"], indirect=True)
def test_less_patience(train: Train, tmp_path: Path) -> None:
    """A run that has had enough by now ends with a validation, too."""
    with broken_off(terminate, 7, "on_before_backward", TrainingModule):
        train(tmp_path, steps=10)
    assert train(tmp_path, resume=True, steps=10, patience=1)["steps"] == 8
    assert load_file(tmp_path / LAST)["global_step"] == 8


def test_another_run_is_not_gone_on_with(train: Train, tmp_path: Path) -> None:
    train(tmp_path, steps=2)
    with pytest.raises(InputError, match=r"other settings: \w+\.window$"):
        train(tmp_path, resume=True, window=5)
    with pytest.raises(InputError, match=r"other settings: \w+\.dropout, \w+\.learning_rate$"):
        train(tmp_path, resume=True, learning_rate=0.5, dropout=0.0)


def test_before_the_first_save_there_is_nothing_to_go_on_from(train: Train, tmp_path: Path) -> None:
    with broken_off(kill, 1, "_rename", durable):
        train(tmp_path)
    assert newest_intact(tmp_path) == (None, [])


def test_a_checkpoint_that_does_not_say_where_it_stood(train: Train, tmp_path: Path) -> None:
    train(tmp_path, steps=2)
    checkpoint = load_file(tmp_path / LAST)
    for missing in ("run", "textadv"):
        write_checkpoint(tmp_path / LAST, {name: value for name, value in checkpoint.items() if name != missing})
        with pytest.raises(InputError, match="does not say"):
            train(tmp_path, resume=True)
