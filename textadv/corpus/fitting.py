"""A tokenizer for a corpus, and the corpus encoded with it, in memory that does not grow with the text."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from textadv.corpus.rows import UNLABELED, Corpus, Document, Rows
from textadv.corpus.spool import Spool, batches
from textadv.corpus.tokenization import EOS, SPECIAL_TOKENS, UNKNOWN, EncodedDocuments, TextTokenizer, valid_text
from textadv.corpus.vocabulary import WordCounts
from textadv.corpus.words import LINE_BREAK, ascii_words, word_splitter
from textadv.errors import InputError
from textadv.settings import TokenizerSettings
from textadv.system.parallel import MOST_HELPERS, cores, in_order
from textadv.system.progress import progress

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NUM_BYTES = 256
CHARACTERS_PER_PART = 2**23  # of a corpus, in memory at once
PARTS_ALONE = 4  # encoded in one process: others would take as long to start


class Documents(Protocol):
    """A corpus in memory or on disk."""

    def __len__(self) -> int:
        """Number of documents, or somewhat more."""

    def __iter__(self) -> Iterator[Document]:
        """All documents, as often as one likes."""


class EncodedRows(NamedTuple):
    """Encoded documents of one split with their labels, -1 for an unlabeled one."""

    split: str
    documents: EncodedDocuments
    labels: list[int]

    def packed(self) -> tuple[str, bytes, bytes, list[int]]:
        """The same as plain bytes."""
        return self.split, self.documents.tokens.tobytes(), self.documents.lengths.tobytes(), self.labels

    @classmethod
    def unpacked(cls, packed: tuple[str, bytes, bytes, list[int]]) -> EncodedRows:
        """What `packed` has packed."""
        split, tokens, lengths, labels = packed
        return cls(split, EncodedDocuments(np.frombuffer(tokens, np.int32), np.frombuffer(lengths, np.int64)), labels)


def fit(
    texts: Mapping[str, Sequence[str]], training: Sequence[str], settings: TokenizerSettings
) -> tuple[TextTokenizer, dict[str, EncodedDocuments]]:
    """Train a tokenizer and encode with it, in memory; see `fit_corpus`.

    Args:
        texts: The documents of each split.
        training: Splits from whose texts the vocabulary is made.
        settings: How text becomes tokens.

    Returns:
        The tokenizer and the encoded documents of each split: exactly what the tokenizer makes of its texts.

    Raises:
        InputError: The settings contradict themselves.
    """
    corpus = Corpus((), {name: Rows(list(split), [UNLABELED] * len(split)) for name, split in texts.items()}, {})
    tokenizer, encoded = fit_corpus(corpus, training, settings, None)
    nothing = EncodedDocuments(np.zeros(0, np.int32), np.zeros(0, np.int64))
    parts = {name: [nothing] for name in texts}
    for part in encoded:
        parts[part.split].append(part.documents)
    return tokenizer, {name: EncodedDocuments.join(documents) for name, documents in parts.items()}


def fit_corpus(
    corpus: Documents, training: Sequence[str], settings: TokenizerSettings, folder: Path | None
) -> tuple[TextTokenizer, Iterator[EncodedRows]]:
    """Train a tokenizer and encode with it, with a part of the corpus in memory at a time.

    Args:
        corpus: The documents; they are read more than once.
        training: Splits from whose texts the vocabulary is made.
        settings: How text becomes tokens.
        folder: Where tokens lie meanwhile, in files without a name; None for the system's folder of temporary files.

    Returns:
        The tokenizer, and the documents of each split in their order, in parts: exactly what the tokenizer makes of
        its texts.

    Raises:
        InputError: The settings contradict themselves, or the disk is full.
    """
    smallest = len(SPECIAL_TOKENS) + (NUM_BYTES if settings.kind == "bpe" else 1)
    if settings.max_vocabulary < smallest:
        raise InputError(
            f"--tokenizer.max_vocabulary {settings.max_vocabulary}: kind {settings.kind} needs at least {smallest}"
        )
    if settings.kind == "bpe":
        tokenizer = _fit_bpe(corpus, training, settings)
        return tokenizer, encode_corpus(tokenizer, corpus)
    return _fit_words(corpus, training, settings, folder)


def _fit_words(
    corpus: Documents, training: Sequence[str], settings: TokenizerSettings, folder: Path | None
) -> tuple[TextTokenizer, Iterator[EncodedRows]]:
    """Encode each part with the words that it has, choose among all words, renumber: so a text is encoded only once."""
    counts = WordCounts(folder)
    spool = Spool(folder)
    parts = _parts(progress(corpus, len(corpus), "building the vocabulary"))
    encode = partial(_with_own_words, lowercase=settings.lowercase)
    here = map(encode, islice(parts, PARTS_ALONE))
    for words, encoded in chain(here, in_order(encode, parts, min(cores(), MOST_HELPERS))):
        for rows in encoded:
            if rows.split in training:
                counts.add(words, rows.documents, len(SPECIAL_TOKENS))
        spool.append((words, [rows.packed() for rows in encoded]))
    special = len(SPECIAL_TOKENS)
    chosen = counts.most_frequent(settings.max_vocabulary - special, settings.min_documents)
    drop = settings.unknown == "drop"
    return TextTokenizer(_word_tokenizer(chosen, settings.lowercase), drop), _renumbered(spool, chosen, drop)


def _renumbered(spool: Spool, chosen: Sequence[str], drop_unknown: bool) -> Iterator[EncodedRows]:
    """The parts that were encoded with their own words, with the ids of the chosen ones."""
    special = range(len(SPECIAL_TOKENS))
    ids = {word: id for id, word in enumerate(chosen, len(special))}
    for words, parts in spool:
        new_ids = np.array([*special, *map(ids.get, words, repeat(UNKNOWN))], np.int32)
        for packed in parts:
            rows = EncodedRows.unpacked(packed)
            documents = EncodedDocuments(new_ids[rows.documents.tokens], rows.documents.lengths)
            yield rows._replace(documents=documents.without_unknown() if drop_unknown else documents)


class _Ids(dict[str, int]):
    """Ids of words, given in the order in which they are met."""

    def __missing__(self, word: str) -> int:
        self[word] = id = len(SPECIAL_TOKENS) + len(self)
        return id


def _with_own_words(part: Mapping[str, Rows], lowercase: bool) -> tuple[list[str], list[EncodedRows]]:
    """The words of a part of a corpus, and the part encoded with them."""
    ids = _Ids()
    others = [text for rows in part.values() for text in rows.texts if not text.isascii()]
    encoded_others = iter(_by_library(others, lowercase, ids))
    encoded = []
    for split, rows in part.items():
        tokens, lengths = array("i"), []
        for text in rows.texts:
            before = len(tokens)
            if text.isascii():
                tokens.extend(map(ids.__getitem__, ascii_words(text.lower() if lowercase else text)))
                tokens.append(EOS)
            else:
                tokens.frombytes(next(encoded_others).tobytes())
            lengths.append(len(tokens) - before)
        documents = EncodedDocuments(np.array(tokens, np.int32), np.array(lengths, np.int64))
        encoded.append(EncodedRows(split, documents, rows.labels))
    return list(ids), encoded


def _by_library(texts: Sequence[str], lowercase: bool, ids: _Ids) -> EncodedDocuments:
    """Encode texts of any characters, on the cores that this process has for it."""
    from tokenizers.trainers import WordLevelTrainer

    tokenizer = _word_tokenizer([], lowercase)
    trainer = WordLevelTrainer(vocab_size=2**31, min_frequency=0, show_progress=False)
    tokenizer.train_from_iterator(map(valid_text, texts), trainer)
    words = list(tokenizer.get_vocab(with_added_tokens=False))
    documents = TextTokenizer(_word_tokenizer(words, lowercase)).documents(texts)
    new_ids = np.array([*range(len(SPECIAL_TOKENS)), *map(ids.__getitem__, words)], np.int32)
    return replace(documents, tokens=new_ids[documents.tokens])


def _word_tokenizer(words: Sequence[str], lowercase: bool) -> Tokenizer:
    """Make a tokenizer of known words. No word has punctuation, so none can be mistaken for a special token."""
    from tokenizers import Tokenizer, models

    vocabulary = {word: id for id, word in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS[UNKNOWN]))
    tokenizer.normalizer = _normalizer(lowercase)
    tokenizer.pre_tokenizer = word_splitter()
    return tokenizer


def _fit_bpe(corpus: Documents, training: Sequence[str], settings: TokenizerSettings) -> TextTokenizer:
    """Train byte-level BPE without special tokens (the library would look for those in the text), then put them in."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.trainers import BpeTrainer

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = _normalizer(settings.lowercase, normalizers.Replace(Regex(LINE_BREAK), " "))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=settings.max_vocabulary - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    documents = progress(corpus, len(corpus), "building the vocabulary")
    bpe.train_from_iterator((valid_text(text) for split, text, _ in documents if split in training), trainer)
    content: dict[str, Any] = json.loads(bpe.to_str())
    learned = {token: id + len(SPECIAL_TOKENS) for token, id in content["model"]["vocab"].items()}
    content["model"]["vocab"] = {token: id for id, token in enumerate(SPECIAL_TOKENS)} | learned
    return TextTokenizer(Tokenizer.from_str(json.dumps(content)))


def _normalizer(lowercase: bool, *before: Any) -> Any:
    from tokenizers import normalizers

    return normalizers.Sequence([*before, normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])])


def encode_corpus(tokenizer: TextTokenizer, corpus: Documents) -> Iterator[EncodedRows]:
    """Encode a corpus in parts that fit into memory, and show how far that is."""
    for part in _parts(progress(corpus, len(corpus), "encoding")):
        for split, rows in part.items():
            yield EncodedRows(split, tokenizer.documents(rows.texts), rows.labels)


def _parts(documents: Iterable[Document]) -> Iterator[dict[str, Rows]]:
    """Cut a corpus into parts that fit into memory; within a split the order stays."""
    for part in batches(documents, lambda document: len(document.text), CHARACTERS_PER_PART):
        splits: dict[str, Rows] = {}
        for split, text, label in part:
            rows = splits.setdefault(split, Rows([], []))
            rows.texts.append(text)
            rows.labels.append(label)
        yield splits
