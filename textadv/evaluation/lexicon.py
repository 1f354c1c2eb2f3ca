"""The words that a substitution attack may exchange: its result is a text, whatever the tokenizer."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textadv.corpus.tokenization import TextTokenizer
from textadv.corpus.words import word_places
from textadv.evaluation.stop_words import STOP_WORDS
from textadv.models.encoders import positions_before

PART = "\ufffd"  # how a token reads that is part of a character


class Lexicon(NamedTuple):
    """What the tokens of a vocabulary are in a text. Methods take documents (B, T) and their lengths (B,), EOS counted.

    A token may be exchanged where it is a whole word by itself, with a space before it. Under BPE that leaves out words
    of several tokens, and those that follow a bracket or a quotation mark; the fewer tokens there are, the more words.
    """

    tokenizer: TextTokenizer  # the classifier's
    fixed: Tensor  # (V,), tokens neither replaced nor put in: special ones, stop words, and what is no whole word
    continuing: Tensor  # tokens that go on with a word that ends where they begin, (V,)

    @classmethod
    def of(cls, tokenizer: TextTokenizer, corpus: Iterable[NDArray[np.generic]], device: str = "cpu") -> "Lexicon":
        """Look through a vocabulary and its use.

        Args:
            tokenizer: The classifier's.
            corpus: Encoded documents, one after another, in one or more arrays: words are what they have as words.
            device: Where the tensors are to be.
        """
        pieces = tokenizer.pieces(range(tokenizer.vocabulary_size))
        alone = tokenizer.encode(pieces)
        continuing = np.array([piece.startswith(PART) or word_places("x" + piece)[0] != (0, 1) for piece in pieces])
        words = np.zeros(len(pieces), np.bool_)
        for tokens in corpus:
            words[tokens[:-1][~continuing[tokens[1:]]]] = True  # where no token goes on with it
        words &= [_is_word(piece) and tokenizer.text_ids(alone[i].tolist()) == [i] for i, piece in enumerate(pieces)]
        words &= [piece.strip().lower() not in STOP_WORDS for piece in pieces]
        words[list(tokenizer.special_tokens)] = False
        return cls(tokenizer, torch.from_numpy(~words).to(device), torch.from_numpy(continuing).to(device))

    @property
    def has_choice(self) -> bool:
        """Whether there are two words, of which one can take the place of the other."""
        return int((~self.fixed).sum()) > 1

    def exchangeable(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Where a word stands that may be replaced, (B, T)."""
        whole = ~self.continuing[tokens].roll(-1, dims=1)  # the first comes last, where no word stands
        return positions_before(lengths, tokens) & ~self.fixed[tokens] & whole

    def texts(self, tokens: Tensor, lengths: Tensor) -> list[str]:
        """The documents as texts."""
        return [self.tokenizer.decode(self.tokenizer.text_ids(ids)) for ids in _rows(tokens, lengths)]

    def count_words(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Words of each document, in several tokens or in one, (B,)."""
        return torch.tensor([len(word_places(text)) for text in self.texts(tokens, lengths)], device=tokens.device)

    def is_encoded_so(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Whether the tokens of each document are those that its text is encoded as, (B,)."""
        encoded = self.tokenizer.encode(self.texts(tokens, lengths))
        same = [one.tolist() == ids for one, ids in zip(encoded, _rows(tokens, lengths), strict=True)]
        return torch.tensor(same, device=tokens.device)


def _is_word(piece: str) -> bool:
    """Whether a piece of text is a space and one word."""
    return piece[:1] == " " and word_places(piece) == [(1, len(piece))]


def _rows(tokens: Tensor, lengths: Tensor) -> list[list[int]]:
    """Token ids of each document, without padding."""
    return [ids[:length] for ids, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
