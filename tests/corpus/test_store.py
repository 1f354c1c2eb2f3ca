import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from textadv.corpus.store import SPLITS, Split, TokenStore, write_store
from textadv.errors import InputError

TOKENIZER_JSON = '{"any": "té"}'


def split(documents: list[list[int]], labels: list[int]) -> Split:
    offsets = np.concatenate([[0], np.cumsum([len(document) for document in documents])]).astype(np.int64)
    tokens = np.array([token for document in documents for token in document], np.int32)
    return Split(tokens, offsets, np.array(labels, np.int64))


def write(path: Path, vocabulary_size: int = 10) -> Path:
    path.mkdir()
    splits = {
        "train": split([[5, 3, 2], [2], [vocabulary_size - 1, 2]], [0, 1, 1]),
        "unlabeled": split([], []),
        "validation": split([[3, 2]], [1]),
        "test": split([], []),
    }
    frequencies = np.arange(vocabulary_size, dtype=np.float64)
    manifest = {"fingerprint": "f", "source": {}, "settings": {}, "classes": ("neg", "pos"), "report": {"seen": 7}}
    write_store(path, splits, tokenizer_json=TOKENIZER_JSON, frequencies=frequencies, manifest=manifest)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = TokenStore.open(write(tmp_path / "store"))
    assert store.path == tmp_path / "store"
    assert store.fingerprint == "f"
    assert store.classes == ("neg", "pos")
    assert store.vocabulary_size == 10
    assert store.frequencies.dtype == np.float64
    assert store.frequencies.tolist() == list(range(10))
    assert store.tokenizer_json == TOKENIZER_JSON
    assert store.report == {"seen": 7}
    assert tuple(store.splits) == SPLITS
    train = store.splits["train"]
    assert len(train) == 3
    assert train.lengths.tolist() == [3, 1, 2]
    assert [train.document(i).tolist() for i in range(3)] == [[5, 3, 2], [2], [9, 2]]
    assert train.labels.tolist() == [0, 1, 1]
    assert store.splits["validation"].document(0).tolist() == [3, 2]


def test_empty_splits_open(tmp_path: Path) -> None:
    empty = TokenStore.open(write(tmp_path / "store")).splits["test"]
    assert len(empty) == len(empty.tokens) == len(empty.lengths) == 0
    assert empty.tokens.dtype == np.uint16
    assert empty.offsets.tolist() == [0]


@pytest.mark.parametrize(("vocabulary_size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_tokens_are_as_small_as_the_vocabulary_allows(tmp_path: Path, vocabulary_size: int, dtype: type) -> None:
    train = TokenStore.open(write(tmp_path / "store", vocabulary_size)).splits["train"]
    assert train.tokens.dtype == dtype
    assert train.document(2).tolist() == [vocabulary_size - 1, 2]


def test_tokens_are_mapped_read_only(tmp_path: Path) -> None:
    tokens = TokenStore.open(write(tmp_path / "store")).splits["train"].tokens
    assert isinstance(tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_tokenizer_fingerprint_is_that_of_its_json(tmp_path: Path) -> None:
    store = TokenStore.open(write(tmp_path / "store"))
    assert store.tokenizer_fingerprint == hashlib.sha256(TOKENIZER_JSON.encode()).hexdigest()


FILES = [f"{name}.{end}" for name in SPLITS for end in ("tokens", "offsets.npy", "labels.npy")]
FILES += ["tokenizer.json", "frequencies.npy", "manifest.json"]


def test_the_folder_holds_nothing_else(tmp_path: Path) -> None:
    assert sorted(file.name for file in write(tmp_path / "store").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("unlabeled.tokens", "test.tokens")])
def test_one_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "store") / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        TokenStore.open(tmp_path / "store")


@pytest.mark.parametrize("name", FILES)
def test_other_sizes_are_noticed(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "store") / name
    file.write_bytes(file.read_bytes() + b"\x01")
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        TokenStore.open(tmp_path / "store")


@pytest.mark.parametrize("name", FILES)
def test_missing_files_are_noticed(tmp_path: Path, name: str) -> None:
    (write(tmp_path / "store") / name).unlink()
    with pytest.raises(InputError, match=rf"{name}.*No such file"):
        TokenStore.open(tmp_path / "store")


@pytest.mark.parametrize("content", ["", "[]", "3", "{}", '{"checksum": "x"}', "\xff"])
def test_a_manifest_of_something_else(tmp_path: Path, content: str) -> None:
    (write(tmp_path / "store") / "manifest.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"manifest.json is damaged"):
        TokenStore.open(tmp_path / "store")


def test_other_format_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "store")
    monkeypatch.setattr("textadv.corpus.store.FORMAT_VERSION", 2)
    with pytest.raises(InputError, match="format version 1, but 2 is read here"):
        TokenStore.open(tmp_path / "store")


def test_opening_needs_numpy_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "store")
    script = f"""
import sys
for name in ("torch", "tokenizers", "datasets", "pyarrow", "tqdm"):
    sys.modules[name] = None
from pathlib import Path
from textadv.corpus.store import TokenStore
print(len(TokenStore.open(Path({str(path)!r})).splits["train"]))
"""
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "3\n"
