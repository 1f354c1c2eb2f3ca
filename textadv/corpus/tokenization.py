"""Text to token ids: words by the rules of Miyato et al. (2017), or byte-level BPE.

The ids 0, 1 and 2 are `<pad>`, `<unk>` and `<eos>` in both. They are never made from text: a document in which somebody
wrote "<eos>" yields the word `eos` or the bytes `<`, `eos`, `>`. Every document ends with one `<eos>`, so that
a text without any known word is the single token `<eos>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.spool import batches
from textadv.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, UNKNOWN, EOS = 0, 1, 2
SPECIAL_TOKENS = ("<pad>", "<unk>", "<eos>")
CHARACTERS_PER_BATCH = 2**19  # of texts that are encoded at once: the library's encodings have ten times their size


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

    @classmethod
    def join(cls, parts: Sequence[EncodedDocuments]) -> EncodedDocuments:
        """Put several one after another."""
        return cls(np.concatenate([part.tokens for part in parts]), np.concatenate([part.lengths for part in parts]))

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
        """Encode many texts, taken in batches, on all cores."""
        pieces: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        for batch in batches(map(valid_text, texts), len, CHARACTERS_PER_BATCH):
            encodings = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
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


def valid_text(text: str) -> str:
    """Make lone surrogates, which JSON can spell but UTF-8 cannot, into question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
