"""The prepared corpus: flat, memory-mapped arrays of token ids with a manifest that vouches for every file.

Opening a store needs NumPy only. Its folder holds, per split, `<split>.tokens` (all documents one after another, plain
little-endian integers), `<split>.offsets.npy` and `<split>.labels.npy`; then `tokenizer.json`, `frequencies.npy` and
`manifest.json`.
"""

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textadv.errors import InputError
from textadv.system.durable import sync

FORMAT_VERSION = 1
SPLITS = ("train", "unlabeled", "validation", "test")
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
FREQUENCIES = "frequencies.npy"


@dataclass(frozen=True)
class Split:
    """The documents of one split, read-only.

    Attributes:
        tokens: `(N,)` uint16 or uint32, all documents one after another, each ending in `<eos>`.
        offsets: `(n + 1,)` int64: document i is `tokens[offsets[i]:offsets[i + 1]]`.
        labels: `(n,)` int64 indices into the classes, -1 for unlabeled.
    """

    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """`(n,)` tokens per document, `<eos>` counted."""
        return np.diff(self.offsets)

    def document(self, index: int) -> NDArray[Any]:
        """The tokens `(length,)` of one document, a view of the memory map."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def is_store(folder: Path) -> bool:
    """Whether a folder looks like a store, intact or not."""
    return all((folder / name).is_file() for name in (MANIFEST, TOKENIZER))


@dataclass(frozen=True)
class TokenStore:
    """A prepared corpus on disk.

    Attributes:
        path: Its folder.
        fingerprint: Identifies source, split and tokenizer settings.
        tokenizer_fingerprint: sha256 of `tokenizer_json`.
        classes: Names of the classes.
        vocabulary_size: Number of token ids.
        frequencies: `(V,)` float64 counts over train and unlabeled; `<eos>` once per document, `<pad>` 0.
        tokenizer_json: What `TextTokenizer.from_json` reads.
        splits: Always train, unlabeled, validation and test; the last three may be empty.
        report: Counts from the reading of the source, such as the duplicates found.
        settings: What it was prepared with, those of the tokenizer under `tokenizer`.
    """

    path: Path
    fingerprint: str
    tokenizer_fingerprint: str
    classes: tuple[str, ...]
    vocabulary_size: int
    frequencies: NDArray[np.float64]
    tokenizer_json: str
    splits: dict[str, Split]
    report: dict[str, int]
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "TokenStore":
        """Open a store, after checking each file against the manifest.

        Args:
            path: The folder.

        Returns:
            The store; its tokens are memory-mapped, so that memory does not grow with the corpus.

        Raises:
            InputError: A file is missing or is not what was written.
        """
        manifest = _read_manifest(path)
        for name, recorded in manifest["files"].items():
            _check_file(path / name, recorded)
        dtype = np.dtype(manifest["dtype"])
        return cls(
            path=path,
            fingerprint=manifest["fingerprint"],
            tokenizer_fingerprint=manifest["files"][TOKENIZER]["sha256"],
            classes=tuple(manifest["classes"]),
            vocabulary_size=manifest["vocabulary_size"],
            frequencies=np.load(path / FREQUENCIES, allow_pickle=False),
            tokenizer_json=(path / TOKENIZER).read_bytes().decode("utf-8"),
            splits={name: _open_split(path, name, dtype) for name in SPLITS},
            report=manifest["report"],
            settings=manifest["settings"],
        )


class StoreWriter:
    """Writes a store into an empty folder, part by part."""

    def __init__(self, path: Path, vocabulary_size: int) -> None:
        """Begin a store.

        Args:
            path: The folder, existing and empty.
            vocabulary_size: Number of token ids.
        """
        self._path = path
        self._dtype = np.dtype("<u2" if vocabulary_size <= 2**16 else "<u4")
        self._lengths = {name: array("q") for name in SPLITS}
        self._labels = {name: array("q") for name in SPLITS}
        for name in SPLITS:
            self._tokens(name).touch()

    def add(self, split: str, tokens: NDArray[Any], lengths: NDArray[np.int64], labels: Iterable[int]) -> None:
        """Write documents of a split, behind those that it has.

        Args:
            split: Its name.
            tokens: `(N,)`, all documents one after another.
            lengths: `(n,)` tokens per document.
            labels: `(n,)` indices into the classes, -1 for unlabeled.
        """
        with self._tokens(split).open("ab") as file:
            tokens.astype(self._dtype).tofile(file)
        self._lengths[split].frombytes(lengths.astype(np.int64).tobytes())
        self._labels[split].extend(labels)

    def finish(self, *, tokenizer_json: str, frequencies: NDArray[np.float64], manifest: Mapping[str, Any]) -> None:
        """Write all that describes the documents, and have the store on the disk before returning.

        Args:
            tokenizer_json: The tokenizer.
            frequencies: `(V,)` counts of the token ids.
            manifest: `fingerprint`, `source`, `settings`, `classes` and `report`; what describes the files is added
                here.
        """
        path = self._path
        counts = {}
        for name in SPLITS:
            offsets = np.zeros(len(self._lengths[name]) + 1, np.int64)
            np.cumsum(self._lengths[name], out=offsets[1:])
            np.save(path / f"{name}.offsets.npy", offsets)
            np.save(path / f"{name}.labels.npy", np.array(self._labels[name], np.int64))
            counts[name] = {"documents": len(self._lengths[name]), "tokens": int(offsets[-1])}
        np.save(path / FREQUENCIES, frequencies)
        (path / TOKENIZER).write_bytes(tokenizer_json.encode("utf-8"))
        content = dict(manifest) | {
            "format_version": FORMAT_VERSION,
            "vocabulary_size": len(frequencies),
            "dtype": self._dtype.str,
            "counts": counts,
            "files": {file.name: _describe(file) for file in sorted(path.iterdir())},
        }
        content["checksum"] = checksum(content)
        (path / MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")
        for file in path.iterdir():
            sync(file)
        sync(path)

    def _tokens(self, split: str) -> Path:
        return self._path / f"{split}.tokens"


def write_store(
    path: Path,
    splits: Mapping[str, Split],
    *,
    tokenizer_json: str,
    frequencies: NDArray[np.float64],
    manifest: Mapping[str, Any],
) -> None:
    """Write a store that is in memory; see `StoreWriter`."""
    writer = StoreWriter(path, len(frequencies))
    for name, split in splits.items():
        writer.add(name, split.tokens, split.lengths, split.labels.tolist())
    writer.finish(tokenizer_json=tokenizer_json, frequencies=frequencies, manifest=manifest)


def _open_split(path: Path, name: str, dtype: np.dtype[Any]) -> Split:
    tokens = path / f"{name}.tokens"
    return Split(
        # An empty file cannot be mapped.
        tokens=np.memmap(tokens, dtype, mode="r") if tokens.stat().st_size else np.zeros(0, dtype),
        offsets=np.load(path / f"{name}.offsets.npy", allow_pickle=False),
        labels=np.load(path / f"{name}.labels.npy", allow_pickle=False),
    )


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        manifest: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{path} is no token store: cannot read {MANIFEST}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{file} is damaged: it is not JSON") from error
    if not isinstance(manifest, dict) or manifest.pop("checksum", None) != checksum(manifest):
        raise InputError(f"{file} is damaged: its checksum is wrong")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{file} has format version {manifest['format_version']}, but {FORMAT_VERSION} is read here")
    return manifest


def _check_file(file: Path, recorded: dict[str, Any]) -> None:
    try:
        if file.stat().st_size != recorded["size"]:
            raise InputError(f"{file} is damaged: its size is wrong")
        if _describe(file) != recorded:
            raise InputError(f"{file} is damaged: its sha256 is wrong")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error


def _describe(file: Path) -> dict[str, Any]:
    return {"size": file.stat().st_size, "sha256": file_sum(file)}


def file_sum(path: Path) -> str:
    """The sha256 of a file's content.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def checksum(content: Mapping[str, Any]) -> str:
    """The sha256 of primitives, whatever the order of their names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()
