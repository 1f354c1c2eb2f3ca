"""Damage of every kind, at many places of every file of a token store: found, nothing loaded, prepared again."""

import random
from pathlib import Path

import pytest

from textadv.corpus.preparation import prepare
from textadv.corpus.store import MANIFEST, TOKENIZER, TokenStore
from textadv.errors import InputError
from textadv.settings import DataSettings, TokenizerSettings

TOKENS = TokenizerSettings(min_documents=1)
NAMES = [MANIFEST, TOKENIZER, "frequencies.npy"]
NAMES += [f"{split}.{end}" for split in ("train", "validation") for end in ("tokens", "offsets.npy", "labels.npy")]


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    rows = "".join(f"good film {i} é,a\nbad film {i},b\n" for i in range(40))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    return DataSettings(train=str(tmp_path / "train.csv"), cache=str(tmp_path / "cache"))


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_found(data: DataSettings, name: str) -> None:
    """Cut at 10 places, a bit flipped at 100, all bits of a byte at 100."""
    folder = prepare(data, TOKENS).path
    whole, choose = (folder / name).read_bytes(), random.Random(0)
    damaged = [whole[: len(whole) * tenth // 10] for tenth in range(10)]
    for place in choose.choices(range(len(whole)), k=100):
        for mask in (1 << choose.randrange(8), 255):
            damaged.append(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
    for bad in damaged:
        (folder / name).write_bytes(bad)
        with pytest.raises(InputError) as error:
            TokenStore.open(folder)
        assert str(error.value).startswith(f"{folder / name} is damaged")
        assert "\n" not in str(error.value)
    (folder / name).write_bytes(whole)
    TokenStore.open(folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_store_is_prepared_again(data: DataSettings, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = prepare(data, TOKENS).path
    before = content(folder)
    (folder / name).write_bytes(before[name][:-1])
    capsys.readouterr()
    assert prepare(data, TOKENS).path == folder
    assert capsys.readouterr().err.splitlines()[0].endswith("; preparing it again")
    assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
