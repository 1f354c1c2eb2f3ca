"""A folder with sums is read as it was written, or refused."""

from pathlib import Path

import pytest

from textadv.errors import InputError
from textadv.system.summed import SUMS, read_summed, write_summed

FILES = {"a.json": b"{}", "b.bin": b"\x00\xff"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_summed(tmp_path, FILES, {"README.md": b"edit me"})
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    (folder / "README.md").write_bytes(b"edited")
    assert read_summed(folder, list(FILES)) == FILES
    assert "README.md" not in (folder / SUMS).read_text()


@pytest.mark.parametrize("name", [*FILES, SUMS])
@pytest.mark.parametrize("content", [b"other", None])
def test_a_file_that_is_other_or_gone_is_named(folder: Path, name: str, content: bytes | None) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=name if name in FILES or content is None else "sha256"):
        read_summed(folder, list(FILES))
