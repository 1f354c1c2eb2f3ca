"""From a source to a token store: built once, then found again by its fingerprint."""

import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from textadv.corpus.rows import Corpus
from textadv.corpus.sources import check_data, load_corpus, source_identity
from textadv.corpus.splits import TRAINING
from textadv.corpus.store import FORMAT_VERSION, SPLITS, Split, TokenStore, checksum, is_store, write_store
from textadv.corpus.tokenization import EncodedDocuments, TextTokenizer, encode, fit
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
            corpus = load_corpus(data)
            _say_what_is_removed(corpus.report)
            encoded = _encoded(corpus, tokenizer, pretrained)
            _build(temporary, corpus, *encoded, data, identity | {"fingerprint": fingerprint})
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
    if any(name.startswith("validation") for name in source):  # its own rather than a cut of train
        settings["keep_validation_duplicates"] = data.keep_duplicates
    identity = {"format_version": FORMAT_VERSION, "source": source, "settings": settings}
    return identity if pretrained is None else identity | {"tokenizer": checksum({"json": pretrained.to_json()})}


def _encoded(
    corpus: Corpus, settings: TokenizerSettings, pretrained: TextTokenizer | None
) -> tuple[TextTokenizer, dict[str, EncodedDocuments]]:
    """The tokenizer, and what it makes of each split."""
    texts = {name: corpus.splits[name].texts for name in SPLITS}
    if pretrained is None:
        return fit(texts, TRAINING, settings)
    documents = encode(pretrained, texts)
    if cut := {name: len(split.truncated) for name, split in documents.items() if split.truncated}:
        corpus.report.update({f"{name}_rows_cut": count for name, count in cut.items()})
        counts = ", ".join(f"{count:,} of {len(texts[name]):,} in {name}" for name, count in cut.items())
        kept = f"their {settings.truncation.replace('+', ' and ')} is kept (--tokenizer.truncation)"
        print(f"textadv: longer than --tokenizer.max_tokens {settings.max_tokens}: {counts}; {kept}", file=sys.stderr)
    return pretrained, documents


def _build(
    path: Path,
    corpus: Corpus,
    text_tokenizer: TextTokenizer,
    documents: dict[str, EncodedDocuments],
    data: DataSettings,
    identity: dict[str, Any],
) -> None:
    """Write the store into an empty folder."""
    around = len(text_tokenizer.prefix) + len(text_tokenizer.suffix)
    if len(documents["train"].tokens) == around * len(documents["train"].lengths):  # nothing but special tokens
        raise InputError(f"{data.train or data.source}: the training split has no document with a known word")
    size = text_tokenizer.vocabulary_size
    counts = [np.bincount(documents[name].tokens, minlength=size) for name in TRAINING]
    splits = {
        name: Split(documents[name].tokens, documents[name].offsets, np.array(corpus.splits[name].labels, np.int64))
        for name in SPLITS
    }
    with _writing(data.cache):
        write_store(
            path,
            splits,
            tokenizer_json=text_tokenizer.to_json(),
            frequencies=np.sum(counts, axis=0, dtype=np.float64),
            manifest=identity | {"classes": corpus.classes, "report": corpus.report},
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
