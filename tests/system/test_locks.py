"""Of several processes that want the same thing one makes it. Threads stand for them: locks belong to open files."""

import errno
import fcntl
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from unittest.mock import Mock

import pytest

from textadv.checkpoints import CARD, LAST, load_file, model_card, write_checkpoint
from textadv.commands.pretrained import pretrain_encoder, pretrained_encoder
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.settings import Experiment
from textadv.system import locks
from textadv.system.durable import write_file
from textadv.system.locks import lock
from textadv.training import runs


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when somebody has said that he waits."""
    event = threading.Event()
    monkeypatch.setattr(locks, "print", lambda message, file: event.set(), raising=False)
    return event


def held(path: Path) -> IO[bytes]:
    """A lock of ours."""
    file = lock(path, "works")
    assert file is not None
    return file


def test_the_second_one_waits(tmp_path: Path, waits: threading.Event) -> None:
    got = threading.Event()

    def second() -> None:
        with held(tmp_path / "locks" / "a"):
            got.set()

    thread = threading.Thread(target=second)
    with held(tmp_path / "locks" / "a"), held(tmp_path / "locks" / "b"):
        thread.start()
        assert waits.wait(60)
        assert not got.is_set()
    thread.join(60)
    assert got.is_set()


def test_or_is_refused(tmp_path: Path) -> None:
    with held(tmp_path / "a"), pytest.raises(InputError, match="another process works"):
        lock(tmp_path / "a", "works", wait=False)
    held(tmp_path / "a").close()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_files_cannot_be_locked_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(code, "cannot be locked")))
    assert lock(tmp_path / "a", "works") is None
    assert lock(tmp_path / "a", "works", wait=False) is None


@pytest.fixture
def cached(experiment: Experiment, tmp_path: Path) -> Experiment:
    return replace(experiment, data=replace(experiment.data, cache=str(tmp_path / "cache")))


def test_two_runs_that_need_the_same_encoder_train_one(
    cached: Experiment, store: TokenStore, monkeypatch: pytest.MonkeyPatch, waits: threading.Event
) -> None:
    trained: list[Path] = []
    found: list[Path] = []
    second = threading.Thread(target=lambda: found.append(pretrained_encoder(cached, store)))

    def pretrain(experiment: Experiment, store: TokenStore, output: Path, resume: Path | None) -> dict[str, Any]:
        trained.append(output)
        second.start()
        assert waits.wait(60)
        write_file(output / LAST, b"weights")
        return {}

    monkeypatch.setattr(runs, "pretrain", pretrain)
    first = pretrained_encoder(cached, store)
    second.join(60)
    assert found == [first]
    assert trained == [first.parent]


def test_pretraining_that_has_waited_is_not_done_twice(
    cached: Experiment, store: TokenStore, monkeypatch: pytest.MonkeyPatch, waits: threading.Event
) -> None:
    trained: list[Path] = []
    folder = Path(cached.data.cache) / "pretrained" / pretrained_name(cached, store)
    # What a stopped run says how to go on with names the folder: it is the same one.
    second = threading.Thread(target=lambda: pretrain_encoder(cached, store, str(folder), resume=False))

    def pretrain(experiment: Experiment, store: TokenStore, output: Path, resume: Path | None) -> dict[str, Any]:
        trained.append(output)
        second.start()
        assert waits.wait(60)
        write_file(output / LAST, b"weights")
        return {}

    monkeypatch.setattr(runs, "pretrain", pretrain)
    pretrain_encoder(cached, store, None, resume=False)
    second.join(60)
    assert trained == [folder]


def test_an_encoder_that_is_trained_anew_is_not_complete_meanwhile(
    cached: Experiment, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:

    def pretrain(experiment: Experiment, store: TokenStore, output: Path, resume: Path | None) -> dict[str, Any]:
        card = model_card("language_model", experiment, store)
        write_checkpoint(output / LAST, {CARD: card, "number": len(trained)})
        trained.append(resume)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return {}

    trained: list[Path | None] = []
    monkeypatch.setattr(runs, "pretrain", pretrain)
    pretrain_encoder(cached, store, None, resume=False)
    with pytest.raises(KeyboardInterrupt):
        pretrain_encoder(cached, store, None, resume=False)
    encoder = pretrained_encoder(cached, store)
    assert trained == [None, None, encoder]
    assert load_file(encoder)["number"] == 2


def test_a_run_of_several_processes_does_not_wait(cached: Experiment, store: TokenStore) -> None:
    """Only its main process would, and the others would begin."""
    several = replace(cached, trainer=replace(cached.trainer, devices=2))
    folder = Path(cached.data.cache) / "pretrained"
    (name,) = {pretrained_name(cached, store), pretrained_name(several, store)}
    with (
        held(Path(cached.data.cache) / "locks" / name),
        pytest.raises(InputError, match=f"another process pretrains the same encoder in {folder / name}"),
    ):
        pretrained_encoder(several, store)


def pretrained_name(experiment: Experiment, store: TokenStore) -> str:
    """Name of the encoder's folder, seen from outside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "pretrain", lambda *arguments: {})
        return pretrained_encoder(experiment, store).parent.name
