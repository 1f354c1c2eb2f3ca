"""A file is whole and vouched for whatever interrupts its writing."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textadv.errors import InputError
from textadv.system import durable
from textadv.system.durable import is_intact, known_sums, open_intact, remove_file, sums_path, write_file


class Killed(BaseException):
    """Nobody catches it to tidy up."""


def read(path: Path) -> bytes | None:
    """The content if it is intact."""
    try:
        with open_intact(path) as file:
            return file.read()
    except InputError:
        return None


def fail_at(
    patch: pytest.MonkeyPatch, moment: int, failure: type[BaseException] | Exception = Killed, torn: bool = False
) -> list[str]:
    """Fail at a given operation on the disk, before it or (torn) in the middle of a write; returns what was done."""
    done: list[str] = []

    def interrupt(owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def operation(*arguments: Any) -> Any:
            done.append(name)
            if len(done) == moment:
                if torn and name == "_write_synced":
                    arguments[0].write_bytes(bytes(arguments[1])[:-3])
                raise failure
            return original(*arguments)

        patch.setattr(owner, name, operation)

    interrupt(durable, "_write_synced")
    interrupt(durable, "sync")
    interrupt(Path, "replace")
    return done


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def operations(path: Path, keep: Path) -> int:
    """How many there are in one writing."""
    with pytest.MonkeyPatch.context() as patch:
        done = fail_at(patch, 0)
        write_file(path, b"one more", keep)
    return len(done)


def test_the_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    write_file(tmp_path / "a.ckpt", b"content")
    assert sums_path(tmp_path / "a.ckpt").read_text() == f"{hashlib.sha256(b'content').hexdigest()}  a.ckpt\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "a.ckpt.sha256"]
    remove_file(tmp_path / "a.ckpt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", [False, True])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_content(tmp_path: Path, torn: bool) -> None:
    """And a second kill, in the writing after it, does too."""
    path, keep = tmp_path / "last", tmp_path / "previous"
    for content in (b"first", b"second"):
        write_file(path, content, keep)
    number = 2
    for first in range(1, operations(path, keep) + 1):
        for second in (2, 5, 8, 11):
            number += 1
            newest = read(path) or read(keep)
            assert newest is not None
            for moment, content in ((first, b"a%d" % number), (second, b"b%d" % number)):
                with pytest.MonkeyPatch.context() as patch:
                    fail_at(patch, moment, torn=torn)
                    try:
                        write_file(path, content, keep)
                        expected = [content]
                    except Killed:
                        expected = [newest, content]
                assert (read(path) or read(keep)) in expected, (first, second, moment)
                assert read(path) is not None or not path.exists()  # an intact file is always vouched for
                assert read(keep) is not None
                newest = read(path) or read(keep) or b""
    write_file(path, b"the end", keep)
    assert len(known_sums(path)) == len(known_sums(keep)) == 1
    assert {item.name for item in tmp_path.iterdir()} == {"last", "previous", "last.sha256", "previous.sha256"}


def test_without_a_predecessor_kept_the_file_is_always_there(tmp_path: Path) -> None:
    path = tmp_path / "best"
    write_file(path, b"0")
    for moment in range(1, 9):
        before = read(path)
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, moment)
            try:
                write_file(path, b"%d" % moment)
            except Killed:
                assert read(path) in (before, b"%d" % moment)
    assert read(path) == b"8"


def test_a_damaged_file_does_not_push_out_the_one_kept(tmp_path: Path) -> None:
    path, keep = tmp_path / "last", tmp_path / "previous"
    for content in (b"first", b"second"):
        write_file(path, content, keep)
    path.write_bytes(b"sec0nd")
    write_file(path, b"third", keep)
    assert (read(path), read(keep)) == (b"third", b"first")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_refuses(tmp_path: Path, code: int) -> None:
    """At any operation: one line, nothing lost, no rubbish."""
    path, keep = tmp_path / "last", tmp_path / "previous"
    write_file(path, b"first", keep)
    for moment in range(1, operations(path, keep) + 1):
        newest = b"before %d" % moment
        write_file(path, newest, keep)
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, moment, OSError(code, "refused"))
            with pytest.raises(InputError, match=r"last: cannot be written \(refused\)"):
                write_file(path, b"%d" % moment, keep)
        assert (read(path) or read(keep)) in (newest, b"%d" % moment)
        assert not (tmp_path / ".last.new").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_file(tmp_path / "file" / "x", b"")


def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / ".a.new").symlink_to(tmp_path / "victim")
    write_file(tmp_path / "a", b"content")
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert is_intact(tmp_path / "a")


def test_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which opens no folders, and writes a file out only for somebody who may write to it."""
    opened, synced = os.open, []

    def windows_open(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *arguments, **options)

    def windows_fsync(descriptor: int) -> None:
        os.write(descriptor, b"")  # refused where the file was opened for reading only
        synced.append(descriptor)

    monkeypatch.setattr(os, "open", windows_open)
    monkeypatch.setattr(os, "fsync", windows_fsync)
    for content in (b"first", b"second"):
        write_file(tmp_path / "last", content, tmp_path / "previous")
    assert (read(tmp_path / "last"), read(tmp_path / "previous")) == (b"second", b"first")
    assert synced
    synced.clear()
    durable.sync(tmp_path / "last")
    assert synced
    with pytest.raises(FileNotFoundError):
        durable.sync(tmp_path / "nothing")
