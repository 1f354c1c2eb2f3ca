"""The files: written so that a kill leaves an intact one, read without running any code in them."""

import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import torch

from textadv.checkpoints.card import CARD, FORMAT
from textadv.checkpoints.model_folder import WEIGHTS, read_model_folder
from textadv.errors import InputError
from textadv.system.durable import open_intact, write_file

BEST, LAST = "best.ckpt", "last.ckpt"
PREVIOUS = "previous.ckpt"  # what `last.ckpt` was before
GRAPH = "model.onnx"  # what `export` writes, which is no checkpoint
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # two letters at least, one is a Windows drive


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint file meant by a file, by the folder of a run, or by one that holds nothing but the classifier.

    Raises:
        InputError: There is none.
    """
    if URL.match(str(path)):
        raise InputError(f"{path}: no such checkpoint: only files of this machine are read, no URLs")
    if path.is_dir():
        for name in (BEST, LAST, WEIGHTS):
            if (path / name).is_file():
                return path / name
        exported = "; it is an export, which only `predict --onnx` takes" if (path / GRAPH).is_file() else ""
        raise InputError(f"{path}: no checkpoint ({BEST}, {LAST} or {WEIGHTS}) in this folder{exported}")
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    return path


def write_checkpoint(path: Path, checkpoint: dict[str, Any], keep: Path | None = None) -> None:
    """Write a checkpoint so that a kill at any moment leaves an intact one, see `textadv.system.durable.write_file`.

    Args:
        path: The file.
        checkpoint: Tensors and primitives.
        keep: Where the checkpoint that is replaced goes.

    Raises:
        InputError: It cannot be written.
    """
    content = io.BytesIO()  # torch's own writer turns a full disk into an error without a reason
    torch.save(checkpoint, content)
    write_file(path, content.getbuffer(), keep)


def load_file(path: Path) -> dict[str, Any]:
    """Read tensors and primitives from a file, after its sum has been checked; no code in it runs.

    Raises:
        InputError: The file is damaged, or not such a file.
    """
    with open_intact(path) as file:
        try:
            _require_plain_archive(file)
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # there is hardly one that the unpickler cannot be made to raise
            raise InputError(f"{path}: damaged, or not a checkpoint of textadv") from None
    return content


def _require_plain_archive(file: BinaryIO) -> None:
    """Refuse all but what `torch.save` writes: an archive without compression unpacks to no more than its size."""
    with ZipFile(file) as archive:
        members = archive.infolist()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if any(m.compress_type != ZIP_STORED for m in members) or sum(m.file_size for m in members) > size:
        raise ValueError("unpacks to more than its size")


def read_checkpoint(path: Path, kind: str) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Args:
        path: The file, or the folder of a run, or `model.safetensors` with what belongs to it.
        kind: The kind the card must name.

    Returns:
        The checkpoint, its card under `CARD`.

    Raises:
        InputError: The file is missing, damaged, or of another kind.
    """
    path = resolve_checkpoint(path)
    checkpoint = read_model_folder(path.parent) if path.name == WEIGHTS else load_file(path)
    try:
        found, version = checkpoint[CARD]["kind"], checkpoint[CARD]["format"]
    except Exception:
        raise InputError(f"{path}: not a checkpoint of textadv") from None
    if version != FORMAT:
        raise InputError(f"{path}: a checkpoint of format {version}, but {FORMAT} is read here")
    if found != kind:
        raise InputError(f"{path}: this is a {found} checkpoint, a {kind} is needed")
    return checkpoint
