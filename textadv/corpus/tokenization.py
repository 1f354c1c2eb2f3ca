"""Text to token ids: words by the rules of Miyato et al. (2017), or byte-level BPE.

The ids 0, 1 and 2 are `<pad>`, `<unk>` and `<eos>` in both. They are never made from text: a document in which somebody
wrote "<eos>" yields the word `eos` or the bytes `<`, `eos`, `>`. Every document ends with one `<eos>`, so that
a text without any known word is the single token `<eos>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.words import LINE_BREAK, word_splitter
from textadv.errors import InputError
from textadv.settings import TokenizerSettings
from textadv.system.progress import progress

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, UNKNOWN, EOS = 0, 1, 2
SPECIAL_TOKENS = ("<pad>", "<unk>", "<eos>")
NUM_BYTES = 256
TEXTS_PER_CHUNK = 2000


@dataclass(frozen=True)
class EncodedDocuments:
    """Encoded documents, one after another.

    Attributes:
        tokens: `(N,)` int32, every document ending in `<eos>`.
        lengths: `(n,)` int64, tokens per document, `<eos>` counted.
        truncated: Numbers of the documents that were longer and have been cut.
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int64]
    truncated: frozenset[int] = frozenset()

    @property
    def offsets(self) -> NDArray[np.int64]:
        """`(n + 1,)`: document i is `tokens[offsets[i]:offsets[i + 1]]`."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths, dtype=np.int64)])

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        """Iterate over the documents, each `(length,)`."""
        return (self.tokens[start:stop] for start, stop in pairwise(self.offsets))

    def without_unknown(self) -> EncodedDocuments:
        """Leave the unknown words out."""
        kept = self.tokens != UNKNOWN
        # No document is empty (it has its <eos>), which is what reduceat needs.
        lengths = np.add.reduceat(kept, self.offsets[:-1], dtype=np.int64)
        return EncodedDocuments(self.tokens[kept], lengths)


class TextTokenizer:
    """A trained tokenizer: text in, token ids out.

    Words have ids sorted by falling frequency; the ids of BPE follow the order of its merges instead, which is only
    roughly that of frequency.

    Attributes:
        vocabulary_size: Number of ids, the special ones included.
        prefix: Ids before the text of each document.
        suffix: Ids behind it.
        special_tokens: Ids of the special tokens: nothing that stands for them is a word.
    """

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = (EOS,)
    special_tokens: Sequence[int] = range(len(SPECIAL_TOKENS))

    def __init__(self, tokenizer: Tokenizer, drop_unknown: bool = False) -> None:
        """Wrap a tokenizer of the `tokenizers` library.

        Args:
            tokenizer: One whose ids 0, 1, 2 are the special tokens, as plain entries of its vocabulary.
            drop_unknown: Leave unknown words out instead of writing `<unk>`.
        """
        self._tokenizer = tokenizer
        self._drop_unknown = drop_unknown
        self.vocabulary_size: int = tokenizer.get_vocab_size()

    @classmethod
    def from_json(cls, text: str) -> TextTokenizer:
        """Read what `to_json` wrote.

        Args:
            text: The JSON document.

        Returns:
            The tokenizer.

        Raises:
            InputError: The document is no tokenizer of ours.
        """
        from tokenizers import Tokenizer

        try:
            content = json.loads(text)
            tokenizer = Tokenizer.from_str(json.dumps(content["tokenizer"]))
            if "truncation" in content:
                from textadv.corpus.pretrained_tokenizer import PretrainedTokenizer  # a subclass

                return PretrainedTokenizer(tokenizer, content["max_tokens"], content["truncation"])
            return cls(tokenizer, content["unknown"] == "drop")
        except Exception as error:  # `tokenizers` raises plain Exception
            raise InputError(f"not a tokenizer of textadv: {' '.join(str(error).split())}") from error

    def text_ids(self, ids: Sequence[int]) -> Sequence[int]:
        """The ids of a document (length,) between those that stand before and behind each text."""
        return ids[len(self.prefix) : len(ids) - len(self.suffix)]

    def to_json(self) -> str:
        """The tokenizer as JSON, the same for the same one: the library's own and the rule for unknown words."""
        unknown = "drop" if self._drop_unknown else "replace"
        content = {"unknown": unknown, "tokenizer": json.loads(self._tokenizer.to_str())}
        return json.dumps(content, ensure_ascii=False)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """The ids of each text, `(length,)`, ending in `<eos>`."""
        return [document.astype(np.int64) for document in self.documents(texts)]

    def documents(self, texts: Iterable[str]) -> EncodedDocuments:
        """Encode many texts, taken in chunks, on all cores."""
        pieces: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        stream = map(valid_text, texts)
        while chunk := list(islice(stream, TEXTS_PER_CHUNK)):
            encodings = self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
            pieces += [np.array([*encoding.ids, EOS], np.int32) for encoding in encodings]
        documents = EncodedDocuments(np.concatenate(pieces), np.array([len(piece) for piece in pieces[1:]], np.int64))
        return documents.without_unknown() if self._drop_unknown else documents

    def decode(self, ids: Sequence[int]) -> str:
        """Write a text of which `encode` makes the given tokens.

        There are exceptions, but hardly in what people write: of "<br<br/>/>" BPE makes "<br />" and of this a space.

        Args:
            ids: Token ids of a document, without its `<eos>`.

        Returns:
            The text; for `<unk>` it has a word that is not in the vocabulary.
        """
        if self._tokenizer.decoder is None:
            return " ".join(self._unknown_word if id == UNKNOWN else self.token(id) for id in ids)
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    @cached_property
    def _unknown_word(self) -> str:
        """A word that the vocabulary does not have."""
        candidates = ("unk" * times for times in count(1))
        return next(word for word in candidates if self._tokenizer.token_to_id(word) is None)

    def token(self, id: int) -> str:
        """A token for people: the word; for BPE a piece of text, with a leading space where a word begins."""
        token = self._tokenizer.id_to_token(id)
        if token is None:
            raise IndexError(f"token id {id} is outside the vocabulary of {self.vocabulary_size}")
        if id < len(SPECIAL_TOKENS) or self._tokenizer.decoder is None:
            return token
        return self._tokenizer.decode([id], skip_special_tokens=False)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Tokens to be shown one after another: each with the space before it, if there is one."""
        space = " " if self._tokenizer.decoder is None else ""  # a piece of BPE has its own
        return [space + self.token(id) for id in ids]


def fit(
    texts: Mapping[str, Sequence[str]], training: Sequence[str], settings: TokenizerSettings
) -> tuple[TextTokenizer, dict[str, EncodedDocuments]]:
    """Train a tokenizer on some splits and encode all of them.

    Args:
        texts: The texts of each split.
        training: Names of the splits that the vocabulary comes from.
        settings: How text becomes tokens.

    Returns:
        The tokenizer and the encoded documents of each split: exactly what the tokenizer makes of its texts.

    Raises:
        InputError: The settings contradict themselves.
    """
    smallest = len(SPECIAL_TOKENS) + (NUM_BYTES if settings.kind == "bpe" else 1)
    if settings.max_vocabulary < smallest:
        raise InputError(
            f"--tokenizer.max_vocabulary {settings.max_vocabulary}: kind {settings.kind} needs at least {smallest}"
        )
    if settings.kind == "bpe":
        return _fit_bpe(texts, training, settings)
    return _fit_words(texts, training, settings)


def _fit_words(
    texts: Mapping[str, Sequence[str]], training: Sequence[str], settings: TokenizerSettings
) -> tuple[TextTokenizer, dict[str, EncodedDocuments]]:
    """Encode with all the words that may count, choose among them, renumber: so each text is encoded only once."""
    candidates = _candidate_words(texts, training, settings)
    provisional = TextTokenizer(_word_tokenizer(candidates, settings.lowercase))
    documents = encode(provisional, texts)
    words = [*SPECIAL_TOKENS, *candidates]
    chosen = _choose([documents[name] for name in training], words, settings)
    tokenizer = _word_tokenizer([words[id] for id in chosen[len(SPECIAL_TOKENS) :]], settings.lowercase)
    new_ids = np.full(len(words), UNKNOWN, np.int32)
    new_ids[chosen] = np.arange(len(chosen), dtype=np.int32)
    renumbered = {name: EncodedDocuments(new_ids[split.tokens], split.lengths) for name, split in documents.items()}
    if settings.unknown == "drop":
        renumbered = {name: split.without_unknown() for name, split in renumbered.items()}
    return TextTokenizer(tokenizer, settings.unknown == "drop"), renumbered


def _choose(training: list[EncodedDocuments], words: list[str], settings: TokenizerSettings) -> list[int]:
    """Give the ids of the final vocabulary in its order: special tokens, then words by falling count, then alphabet."""
    counts = np.zeros(len(words), np.int64)
    document_counts = np.zeros(len(words), np.int64)
    for split in training:
        counts += np.bincount(split.tokens, minlength=len(words))
        for document in split:
            document_counts[np.unique(document)] += 1
    special = range(len(SPECIAL_TOKENS))
    frequent = (id for id in range(len(special), len(words)) if document_counts[id] >= settings.min_documents)
    ordered = sorted(frequent, key=lambda id: (-counts[id], words[id]))
    return [*special, *ordered[: settings.max_vocabulary - len(special)]]


def _candidate_words(
    texts: Mapping[str, Sequence[str]], training: Sequence[str], settings: TokenizerSettings
) -> list[str]:
    """Count the words: one in n documents or more stands at least n times in the text."""
    from tokenizers.trainers import WordLevelTrainer

    counter = _word_tokenizer([], settings.lowercase)
    trainer = WordLevelTrainer(vocab_size=2**31, min_frequency=settings.min_documents, show_progress=False)
    counter.train_from_iterator(_training_texts(texts, training), trainer)
    return sorted(counter.get_vocab(with_added_tokens=False))


def _word_tokenizer(words: Sequence[str], lowercase: bool) -> Tokenizer:
    """Make a tokenizer of known words. No word has punctuation, so none can be mistaken for a special token."""
    from tokenizers import Tokenizer, models

    vocabulary = {word: id for id, word in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS[UNKNOWN]))
    tokenizer.normalizer = _normalizer(lowercase)
    tokenizer.pre_tokenizer = word_splitter()
    return tokenizer


def _fit_bpe(
    texts: Mapping[str, Sequence[str]], training: Sequence[str], settings: TokenizerSettings
) -> tuple[TextTokenizer, dict[str, EncodedDocuments]]:
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
    bpe.train_from_iterator(_training_texts(texts, training), trainer)
    content: dict[str, Any] = json.loads(bpe.to_str())
    learned = {token: id + len(SPECIAL_TOKENS) for token, id in content["model"]["vocab"].items()}
    content["model"]["vocab"] = {token: id for id, token in enumerate(SPECIAL_TOKENS)} | learned
    tokenizer = TextTokenizer(Tokenizer.from_str(json.dumps(content)))
    return tokenizer, encode(tokenizer, texts)


def _normalizer(lowercase: bool, *before: Any) -> Any:
    from tokenizers import normalizers

    return normalizers.Sequence([*before, normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])])


def encode(tokenizer: TextTokenizer, texts: Mapping[str, Sequence[str]]) -> dict[str, EncodedDocuments]:
    """Encode the texts of each split, and show how far that is."""
    return {
        name: tokenizer.documents(progress(split, len(split), f"encoding {name}") if split else [])
        for name, split in texts.items()
    }


def _training_texts(texts: Mapping[str, Sequence[str]], training: Sequence[str]) -> Iterator[str]:
    together = [text for name in training for text in texts[name]]
    return map(valid_text, progress(together, len(together), "building the vocabulary"))


def valid_text(text: str) -> str:
    """Make lone surrogates, which JSON can spell but UTF-8 cannot, into question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
