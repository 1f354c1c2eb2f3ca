"""Damaged and malicious checkpoints: refused in one line, and nothing in them runs."""

import io
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from textadv.checkpoints import (
    CARD,
    FORMAT,
    LAST,
    PREVIOUS,
    load_file,
    newest_intact,
    read_checkpoint,
    resolve_checkpoint,
    write_checkpoint,
)
from textadv.errors import InputError
from textadv.system.durable import sums_path, write_file

CONTENT = {CARD: {"format": FORMAT, "kind": "classifier"}, "state_dict": {"a": torch.arange(300.0)}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "c.ckpt", CONTENT)
    return tmp_path / "c.ckpt"


def refused(path: Path) -> str:
    """The one line."""
    with pytest.raises(InputError) as error:
        read_checkpoint(path, "classifier")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


def test_what_is_written_is_read(saved: Path) -> None:
    found = read_checkpoint(saved, "classifier")
    assert torch.equal(found["state_dict"]["a"], torch.arange(300.0))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
def test_a_truncated_checkpoint(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    assert "damaged: its sha256" in refused(saved)


def test_a_flipped_bit_anywhere(saved: Path) -> None:
    """Many places in the weights: torch alone reads them without a word."""
    content = saved.read_bytes()
    silent = 0
    for place in random.Random(0).sample(range(len(content)), 100):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        saved.write_bytes(changed)
        assert "damaged: its sha256" in refused(saved)
        try:
            torch.load(io.BytesIO(changed), weights_only=True)
            silent += 1
        except Exception:
            pass
    assert silent > 10
    saved.write_bytes(content)
    read_checkpoint(saved, "classifier")


@pytest.mark.parametrize("sums", [None, b"", b"\xff\xfe", b"0" * 64 + b"  c.ckpt\n", b"a" * 10_000_000])
def test_lost_or_foreign_sums(saved: Path, sums: bytes | None) -> None:
    sums_path(saved).unlink()
    if sums is not None:
        sums_path(saved).write_bytes(sums)
    assert "c.ckpt.sha256" in refused(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x00" * 5000,
        bytes(range(256)) * 20,
        b"PK\x03\x04 not a zip file",
        b"\x80\x02.",  # a pickle that ends at once
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    ],
)
def test_garbage_with_a_good_sum(tmp_path: Path, content: bytes) -> None:
    write_file(tmp_path / "x.ckpt", content)
    assert "damaged, or not a checkpoint" in refused(tmp_path / "x.ckpt")


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.sentinel}'",)


@pytest.mark.parametrize("form", ["archive", "old", "pickle"])
def test_code_in_a_checkpoint_with_a_good_sum_does_not_run(tmp_path: Path, form: str) -> None:
    path, sentinel = tmp_path / "x.ckpt", tmp_path / "sentinel"
    content = {"state_dict": {}, CARD: {"format": FORMAT, "kind": "classifier", "extra": Payload(sentinel)}}
    file = io.BytesIO()
    if form == "pickle":
        pickle.dump(content, file, protocol=2)
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "archive")
    write_file(path, file.getvalue())
    assert "damaged, or not a checkpoint" in refused(path)
    assert not sentinel.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert sentinel.exists()  # the payload does work where it is trusted


def test_an_archive_that_unpacks_to_more_than_its_size(saved: Path) -> None:
    """A megabyte of compressed zeros could fill the memory."""
    packed = io.BytesIO()
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    write_file(saved, packed.getvalue())
    assert torch.load(saved, weights_only=True)["state_dict"]  # torch unpacks it
    assert "damaged, or not a checkpoint" in refused(saved)


def test_a_tensor_larger_than_its_file(tmp_path: Path) -> None:
    """A pickle may claim any size."""
    write_checkpoint(tmp_path / "x.ckpt", {"a": torch.zeros(77)})
    packed = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "x.ckpt") as archive, zipfile.ZipFile(packed, "w") as other:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("data.pkl"):
                assert content.count(b"KM") == 2  # 77 as a number of one byte: of the storage and of the tensor
                content = content.replace(b"KM", b"J\xff\xff\xff\x7f")  # 2,147,483,647
            other.writestr(name, content)
    write_file(tmp_path / "x.ckpt", packed.getvalue())
    assert "damaged, or not a checkpoint" in refused(tmp_path / "x.ckpt")


def test_links_and_addresses(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / "best.ckpt"
    link.symlink_to(saved)
    sums_path(link).symlink_to(sums_path(saved))
    assert "is a link" in refused(link)
    with pytest.raises(InputError, match="is a link"):
        read_checkpoint(tmp_path / "run", "classifier")
    for address in ("https://example.org/best.ckpt", "s3://bucket/best.ckpt", "file:///tmp/best.ckpt"):
        with pytest.raises(InputError, match="only files of this machine"):
            resolve_checkpoint(Path(address))


def test_the_newest_intact_checkpoint(tmp_path: Path) -> None:
    assert newest_intact(tmp_path) == (None, [])
    for step in (1, 2):
        write_checkpoint(tmp_path / LAST, CONTENT | {"step": step}, keep=tmp_path / PREVIOUS)
    assert newest_intact(tmp_path) == (tmp_path / LAST, [])
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[:-1])
    found, damaged = newest_intact(tmp_path)
    assert found is not None
    assert load_file(found)["step"] == 1
    assert len(damaged) == 1
    assert "last.ckpt: damaged" in damaged[0]
    (tmp_path / PREVIOUS).write_bytes(b"")
    found, damaged = newest_intact(tmp_path)
    assert (found, len(damaged)) == (None, 2)
    (tmp_path / LAST).unlink()
    (tmp_path / LAST).symlink_to("nowhere")
    assert "is a link" in newest_intact(tmp_path)[1][0]
