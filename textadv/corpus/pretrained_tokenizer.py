"""The tokenizer of a pretrained encoder: exactly its ids, read by the `tokenizers` library alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.spool import batches
from textadv.corpus.tokenization import CHARACTERS_PER_BATCH, EncodedDocuments, TextTokenizer, valid_text
from textadv.errors import InputError, reason_of
from textadv.settings import Truncation

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
MASKS = ("[MASK]", "<mask>")  # of BERT's family and of RoBERTa's
HEAD_SHARE = 0.25  # of what is kept: about the 128 of 510 tokens of Sun et al. 2019 (arXiv 1905.05583), section 5.3.1


class PretrainedTokenizer(TextTokenizer):
    """A tokenizer that puts special tokens around each text, and cuts what is longer than the encoder may read.

    Args:
        tokenizer: One of the `tokenizers` library; what it says about truncation and padding is not followed.
        max_tokens: Tokens of a document at most, special ones included.
        truncation: What is kept of a longer document: its `head`, its `tail`, or a quarter of the tokens from its head
            and the rest from its tail.

    Raises:
        InputError: The tokenizer puts no special tokens around a text, or leaves no room between them.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, truncation: Truncation) -> None:
        super().__init__(tokenizer)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.vocabulary_size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1  # ids may have gaps
        self.max_tokens = max_tokens
        self.truncation: Truncation = truncation
        bare = tokenizer.encode("a", add_special_tokens=False).ids
        framed = tokenizer.encode("a").ids
        starts = [i for i in range(len(framed)) if framed[i : i + len(bare)] == bare]
        if not bare or not starts or len(framed) == len(bare):
            raise InputError("the tokenizer puts no special tokens around a text, as those of encoders do")
        self.prefix = tuple(framed[: starts[-1]])
        self.suffix = tuple(framed[starts[-1] + len(bare) :])
        added = tokenizer.get_added_tokens_decoder().items()
        self.special_tokens = sorted({*self.prefix, *self.suffix, *(id for id, token in added if token.special)})
        self._anchor = bare[-1]
        if max_tokens <= len(self.prefix) + len(self.suffix):
            raise InputError(f"--tokenizer.max_tokens {max_tokens}: leaves no room between the special tokens")

    @property
    def kept(self) -> tuple[int, int]:
        """How many tokens are kept of a longer document: first ones and last ones, special tokens included."""
        room = self.max_tokens - len(self.prefix) - len(self.suffix)
        head = head_of(room, self.truncation)
        return len(self.prefix) + head, room - head + len(self.suffix)

    def to_json(self) -> str:
        """See `TextTokenizer.to_json`."""
        tokenizer = json.loads(self._tokenizer.to_str())
        content = {"max_tokens": self.max_tokens, "truncation": self.truncation, "tokenizer": tokenizer}
        return json.dumps(content, ensure_ascii=False)

    def documents(self, texts: Iterable[str]) -> EncodedDocuments:
        """Encode many texts, taken in batches, on all cores; which of them were cut is noted."""
        pieces: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        truncated: list[int] = []
        room = self.max_tokens - len(self.prefix) - len(self.suffix)
        for batch in batches(map(valid_text, texts), len, CHARACTERS_PER_BATCH):
            for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                ids = encoding.ids
                if len(ids) > room:
                    truncated.append(len(pieces) - 1)
                    ids = cut(ids, room, self.truncation)
                pieces.append(np.array([*self.prefix, *ids, *self.suffix], np.int32))
        lengths = np.array([len(piece) for piece in pieces[1:]], np.int64)
        return EncodedDocuments(np.concatenate(pieces), lengths, frozenset(truncated))

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer.decode`; some encoders read less than what is written, such as no upper case."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def token(self, id: int) -> str:
        """See `TextTokenizer.token`."""
        if self._tokenizer.id_to_token(id) is None:
            raise IndexError(f"token id {id} is outside the vocabulary of {self.vocabulary_size}")
        return self.pieces([id])[0]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """See `TextTokenizer.pieces`. A decoder knows only behind another token whether a token begins a word."""
        both = self._tokenizer.decode_batch([[self._anchor, id] for id in ids], skip_special_tokens=False)
        return [text.removeprefix(self._anchor_text) for text in both]

    @property
    def vocabulary(self) -> list[str]:
        """The entries as the tokenizer itself writes them, by id; empty where there is none."""
        return [self._tokenizer.id_to_token(id) or "" for id in range(self.vocabulary_size)]

    @property
    def mask_token(self) -> int:
        """Id of the token that hides another one.

        Raises:
            InputError: There is none.
        """
        found = [id for id in map(self._tokenizer.token_to_id, MASKS) if id is not None]
        if not found:
            raise InputError(f"the encoder's tokenizer has no token for a hidden word ({' or '.join(MASKS)})")
        return found[0]

    @cached_property
    def _anchor_text(self) -> str:
        return self._tokenizer.decode([self._anchor], skip_special_tokens=False)


def cut(ids: Sequence[int], room: int, truncation: Truncation) -> list[int]:
    """What is kept of the tokens of a document that is longer than there is room.

    Args:
        ids: Token ids without special ones, more than `room`.
        room: How many are kept, at least 1.
        truncation: Which of them.
    """
    head = head_of(room, truncation)
    return [*ids[:head], *ids[len(ids) - (room - head) :]]


def head_of(room: int, truncation: Truncation) -> int:
    """How many of the tokens for which there is room are from the head of a document."""
    return {"head": room, "tail": 0, "head+tail": round(HEAD_SHARE * room)}[truncation]


def read_tokenizer(folder: Path, max_tokens: int, truncation: Truncation) -> PretrainedTokenizer:
    """Read the tokenizer of a pretrained encoder.

    Args:
        folder: Folder in Hugging Face's layout.
        max_tokens: As in `PretrainedTokenizer`.
        truncation: As in `PretrainedTokenizer`.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    from tokenizers import Tokenizer

    file = folder / FILE
    try:
        content = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # `tokenizers` raises plain Exception
        raise InputError(f"{file}: is no tokenizer: {reason_of(error)}") from None
    try:
        return PretrainedTokenizer(tokenizer, max_tokens, truncation)
    except InputError as error:
        raise InputError(str(error) if str(error).startswith("--") else f"{file}: {error}") from None
