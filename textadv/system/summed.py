"""Folders of files with their sums: half new or damaged ones are noticed."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from textadv.errors import InputError
from textadv.system.durable import replace_file, writing

SUMS = "SHA256SUMS"  # as `sha256sum` writes and checks it


def write_summed(folder: Path, files: Mapping[str, bytes], beside: Mapping[str, bytes] | None = None) -> None:
    """Write files, and their sums last, so that a folder that is half new is refused.

    Args:
        folder: An existing folder.
        files: Contents by name.
        beside: Files without a sum, such as those that people edit.

    Raises:
        InputError: A file cannot be written.
    """
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    for name, content in {**files, **(beside or {}), SUMS: sums.encode()}.items():
        with writing(folder / name):
            replace_file(folder / name, content)


def read_summed(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Read files for which the sums vouch. Links are followed, as the Hub's cache has nothing else.

    Args:
        folder: What `write_summed` has written.
        names: Of the files.

    Returns:
        Contents by name.

    Raises:
        InputError: A file is missing or damaged.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        raise InputError(f"{folder}: damaged, or not written to its end: its {SUMS} cannot be read") from None
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    files = {}
    for name in names:
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror or error})") from None
        if hashlib.sha256(files[name]).hexdigest() != sums.get(name):
            raise InputError(f"{folder / name}: damaged: its sha256 is not that in {SUMS}")
    return files
