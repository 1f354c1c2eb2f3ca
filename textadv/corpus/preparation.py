"""From a source to a token store: built once, then found again by its fingerprint."""

import shutil
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from textadv.corpus.fitting import EncodedRows, encode_corpus, fit_corpus
from textadv.corpus.rows import Corpus
from textadv.corpus.sources import check_data, source_identity, stream_corpus
from textadv.corpus.splits import TRAINING, StreamedCorpus
from textadv.corpus.store import FORMAT_VERSION, StoreWriter, TokenStore, checksum, is_store
from textadv.corpus.tokenization import TextTokenizer
from textadv.errors import InputError
from textadv.settings import DataSettings, TokenizerSettings
from textadv.system.locks import lock

NAME_LENGTH = 16


def prepare(data: DataSettings, tokenizer: TokenizerSettings, pretrained: TextTokenizer | None = None) -> TokenStore:
    """Open the store of these settings under `data.cache`, and build it if it is missing or damaged.

    The store does not depend on `data.labels_per_class` and `data.validation_labels`: which labels are used is decided
    when training reads it.
    A store is built beside its place and renamed into it, so that it is there as a whole or not at all. Of several
    processes that want it at the same time one builds it and the others wait; where files cannot be locked each builds
    it, and whoever comes second leaves the store of the first. Where `data.source` is the folder of a store, it is that
    one, whatever the other settings say.

    Args:
        data: Where the text comes from and how it is split.
        tokenizer: How text becomes tokens.
        pretrained: The tokenizer of a pretrained encoder, which then makes the tokens.

    Returns:
        The store.

    Raises:
        InputError: The source is wrong, has no training text, or the cache cannot be written.
    """
    if data.source is not None and is_store(Path(data.source)):
        check_data(data)
        return TokenStore.open(Path(data.source))
    identity = _identity(data, tokenizer, pretrained)
    fingerprint = checksum(identity)
    folder = Path(data.cache) / "stores" / fingerprint[:NAME_LENGTH]
    with suppress(InputError):
        return _open(folder, fingerprint)
    with _writing(data.cache):  # before the long work, so that a cache that cannot be written is found at once
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = lock(Path(data.cache) / "locks" / folder.name, "prepares the same corpus")
    with held or nullcontext():
        if folder.exists():
            try:
                return _open(folder, fingerprint)  # somebody else has prepared it meanwhile
            except InputError as error:
                print(f"{error}; preparing it again", file=sys.stderr)
        temporary = _sibling(folder)
        with _writing(data.cache):
            _clear(folder, alone=held is not None)
            temporary.mkdir()
        try:
            corpus = stream_corpus(data, folder.parent)
            _say_what_is_removed(corpus.report)
            if pretrained is None:
                text_tokenizer, encoded = fit_corpus(corpus, TRAINING, tokenizer, folder.parent)
            else:
                text_tokenizer, encoded = pretrained, encode_corpus(pretrained, corpus)
            _build(temporary, corpus, text_tokenizer, encoded, data, tokenizer, identity | {"fingerprint": fingerprint})
            with _writing(data.cache):
                _publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return _open(folder, fingerprint)


def has_store(data: DataSettings, tokenizer: TokenizerSettings, pretrained: TextTokenizer | None) -> bool:
    """Whether the store of these settings is there.

    Args:
        data: Where the text comes from.
        tokenizer: How text becomes tokens.
        pretrained: The tokenizer of a pretrained encoder.

    Raises:
        InputError: The source cannot be found.
    """
    fingerprint = checksum(_identity(data, tokenizer, pretrained))
    return is_store(Path(data.cache) / "stores" / fingerprint[:NAME_LENGTH])


def _identity(data: DataSettings, tokenizer: TokenizerSettings, pretrained: TextTokenizer | None) -> dict[str, Any]:
    """Collect what the content of the store depends on."""
    cutting = {"max_tokens": tokenizer.max_tokens, "truncation": tokenizer.truncation}
    training = {name: value for name, value in asdict(tokenizer).items() if name not in cutting}
    source = source_identity(data)
    settings = {
        "validation_fraction": data.validation_fraction,
        "seed": data.seed,
        "keep_test_duplicates": data.keep_duplicates,
        "text_column": data.text_column,
        "label_column": data.label_column,
        "tokenizer": training if pretrained is None else cutting,
    }
    if data.validation_cut != "random":
        settings["validation_cut"] = data.validation_cut
    if any(name.startswith("validation") for name in source):  # its own rather than a cut of train
        settings["keep_validation_duplicates"] = data.keep_duplicates
    identity = {"format_version": FORMAT_VERSION, "source": source, "settings": settings}
    return identity if pretrained is None else identity | {"tokenizer": checksum({"json": pretrained.to_json()})}


def _build(
    path: Path,
    corpus: Corpus | StreamedCorpus,
    tokenizer: TextTokenizer,
    encoded: Iterable[EncodedRows],
    data: DataSettings,
    settings: TokenizerSettings,
    identity: dict[str, Any],
) -> None:
    """Write the store into an empty folder."""
    frequencies = np.zeros(tokenizer.vocabulary_size, np.float64)
    writer = StoreWriter(path, tokenizer.vocabulary_size)
    around = len(tokenizer.prefix) + len(tokenizer.suffix)
    has_known_word = False
    read, cut = Counter[str](), Counter[str]()
    for split, documents, labels in encoded:
        with _writing(data.cache):
            writer.add(split, documents.tokens, documents.lengths, labels)
        if split in TRAINING:
            frequencies += np.bincount(documents.tokens, minlength=len(frequencies))
        has_known_word |= split == "train" and len(documents.tokens) > around * len(documents.lengths)
        read[split] += len(documents.lengths)
        cut[split] += len(documents.truncated)
    if not has_known_word:  # nothing but special tokens
        raise InputError(f"{data.train or data.source}: the training split has no document with a known word")
    cut = +cut
    if cut:
        counts = ", ".join(f"{count:,} of {read[name]:,} in {name}" for name, count in cut.items())
        kept = f"their {settings.truncation.replace('+', ' and ')} is kept (--tokenizer.truncation)"
        print(f"textadv: longer than --tokenizer.max_tokens {settings.max_tokens}: {counts}; {kept}", file=sys.stderr)
    report = corpus.report | {f"{name}_rows_cut": count for name, count in cut.items()}
    with _writing(data.cache):
        writer.finish(
            tokenizer_json=tokenizer.to_json(),
            frequencies=frequencies,
            manifest=identity | {"classes": corpus.classes, "report": report},
        )


def _say_what_is_removed(report: dict[str, int]) -> None:
    train, unlabeled = (report.get(f"{name}_rows_removed", 0) for name in TRAINING)
    if train or unlabeled:
        texts = f"{train} training and {unlabeled} unlabeled texts stand in validation or test too"
        print(f"textadv: {texts}; removed (--data.keep_duplicates true keeps them)", file=sys.stderr)


def _publish(temporary: Path, folder: Path) -> None:
    """Rename a finished store into its place. Whoever comes second leaves the first one's there."""
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def _clear(folder: Path, alone: bool) -> None:
    """Delete a damaged store, moved out of the way in one step, and what killed processes have left unfinished."""
    with suppress(FileNotFoundError):
        folder.rename(_sibling(folder))
    if alone:  # else they may be at work
        for path in folder.parent.glob(f".{folder.name}.*/"):
            shutil.rmtree(path, ignore_errors=True)


def _sibling(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")


def _open(folder: Path, fingerprint: str) -> TokenStore:
    store = TokenStore.open(folder)
    if store.fingerprint != fingerprint:
        raise InputError(f"{folder} holds a store of other settings")
    return store


@contextmanager
def _writing(cache: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"--data.cache {cache}: cannot write: {error.strerror or error}") from error
