"""Files that survive a kill, a full disk and a flipped bit, each with its sha256 beside it.

`<name>.sha256` is in the format of `sha256sum`. A file and its sum cannot be renamed in one step, so the sums name the
new content before it takes its place and forget the old one afterwards: whenever a kill comes, the sum of the content
that is in place is listed. A list of two sums is what such a kill leaves behind.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from textadv.errors import InputError

SUFFIX = ".sha256"
DIGEST_LENGTH = 64
MOST_SUMS_BYTES = 65_536  # more than this is no list of sums


def sums_path(path: Path) -> Path:
    """Where the sum of a file is written."""
    return path.with_name(path.name + SUFFIX)


def write_file(path: Path, content: bytes | memoryview, keep: Path | None = None) -> None:
    """Replace a file; at any moment either the old or the new content is in place, whole and vouched for.

    The content is written beside its place, synced to the disk and renamed.

    Args:
        path: The file.
        content: All of its bytes.
        keep: Where the old content goes, if it is intact: a damaged file must not push out the one kept before it.
            Between the two renames, `keep` is the newest intact file and `path` is not there.

    Raises:
        InputError: It cannot be written; what was there is still there, under `path` or `keep`.
    """
    with writing(path), _beside(path) as new:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_synced(new, content)
        if keep is not None and is_intact(path):
            _rename(path, known_sums(path), keep)
        _rename(new, [hashlib.sha256(content).hexdigest()], path)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file whose sum is written elsewhere; where that fails, what was there is still there.

    Raises:
        OSError: It cannot be written.
    """
    with _beside(path) as new:
        _write_synced(new, content)
        new.replace(path)
    sync(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Replace a small file that needs no sum; where that fails, what was there is still there.

    Raises:
        OSError: It cannot be written.
    """
    with _beside(path) as new:
        new.write_text(text, encoding="utf-8", newline="")
        new.replace(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Report a failure to write as one line.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        yield
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror or error}); what was saved before is kept"
        raise InputError(message) from None


@contextmanager
def open_intact(path: Path) -> Iterator[BinaryIO]:
    """Open a file whose content has just been checked against its sum.

    Args:
        path: The file; a link is refused, whatever it points to.

    Yields:
        The open file, at its start.

    Raises:
        InputError: The file is not what was written, or has no sum.
    """
    if path.is_symlink():
        raise InputError(f"{path}: is a link; only the file itself is read")
    sums = known_sums(path)
    if not sums:
        raise InputError(f"{path}: damaged, or moved without its sum: there is no {sums_path(path).name} beside it")
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    with file:
        if hashlib.file_digest(file, "sha256").hexdigest() not in sums:
            raise InputError(f"{path}: damaged: its sha256 is not that in {sums_path(path).name}")
        file.seek(0)
        yield file


def is_intact(path: Path) -> bool:
    """Whether a file is there and is what was written."""
    try:
        with open_intact(path):
            return True
    except InputError:
        return False


def known_sums(path: Path) -> list[str]:
    """The sums listed for a file; none where there is no list."""
    try:
        with sums_path(path).open("rb") as file:
            lines = file.read(MOST_SUMS_BYTES).decode("ascii", "replace").splitlines()
    except OSError:
        return []
    return [line[:DIGEST_LENGTH] for line in lines if line[DIGEST_LENGTH : DIGEST_LENGTH + 2] == "  "]


def remove_file(path: Path) -> None:
    """Remove a file, then its sums."""
    path.unlink(missing_ok=True)
    sums_path(path).unlink(missing_ok=True)


def _rename(source: Path, sums: Sequence[str], target: Path) -> None:
    """Move a file over another one, with the sums of both listed meanwhile."""
    _write_sums(target, [*known_sums(target), *sums])
    source.replace(target)
    sync(target.parent)
    _write_sums(target, sums)


def _write_sums(path: Path, sums: Sequence[str]) -> None:
    target = sums_path(path)
    with _beside(target) as new:
        _write_synced(new, "".join(f"{digest}  {path.name}\n" for digest in sums).encode())
        new.replace(target)
    sync(target.parent)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Where a file is written before it is renamed; one name, so that kills do not fill the disk."""
    new = path.with_name(f".{path.name}.new")
    try:
        yield new
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # gives the space of a full disk back
        raise


def _write_synced(path: Path, content: bytes | memoryview) -> None:
    path.unlink(missing_ok=True)
    with path.open("xb") as file:  # a new file: whatever link had this name is not followed
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Have a file, or the renames in a folder, on the disk.

    Windows opens no folders, and writes a file out only for somebody who may write to it.
    """
    is_folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    except PermissionError:
        if is_folder:
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
