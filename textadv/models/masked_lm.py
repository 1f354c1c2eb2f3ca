"""Masked language modelling, which continues the pretraining of a Transformer on text of the task."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textadv.draws import Generator, new_seed, uniform
from textadv.models.encoders import positions_before
from textadv.models.transformer import TransformerEncoder
from textadv.models.windows import windows

WORD_STARTS = ("Ġ", "▁")  # of byte-level BPE and of SentencePiece


def continues_word(pieces: Sequence[str]) -> list[bool]:
    """Which pieces of a vocabulary go on with the word before them.

    Args:
        pieces: The vocabulary as its tokenizer writes it: WordPiece (`##` goes on), byte-level BPE or SentencePiece
            (`Ġ` and `▁` start a word).

    Returns:
        One per piece.
    """
    if any(piece.startswith("##") for piece in pieces):
        return [piece.startswith("##") for piece in pieces]
    return [not piece.startswith(WORD_STARTS) for piece in pieces]


def mask_words(
    tokens: Tensor,
    may_change: Tensor,
    continues: Tensor,
    mask_token: int,
    replacements: Tensor,
    share: float = 0.15,
    generator: Generator = None,
) -> tuple[Tensor, Tensor]:
    """Choose whole words to be predicted, and hide them (Devlin et al. 2019, section 3.1, with whole-word masks).

    Of the pieces of chosen words 80 % become the mask, 10 % another piece, and 10 % stay as they are.

    Args:
        tokens: Shape (B, T).
        may_change: Where words are, neither special tokens nor padding, shape (B, T).
        continues: Which entries of the vocabulary go on with the word before them, shape (V,).
        mask_token: Id of the mask.
        replacements: Ids of which other pieces are drawn, shape (N,).
        share: Probability of a word to be chosen.
        generator: Source of randomness, on the device of the tokens.

    Returns:
        The tokens to be read, and where they are to be predicted, shape (B, T) each.
    """
    goes_on = continues[tokens] & may_change
    numbers = uniform(tokens.new_empty((*tokens.shape, 3), dtype=torch.float32), generator)
    draw, fate, other = numbers.unbind(2)
    # All pieces of a word have the number that was drawn for its first one.
    positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    first = positions.masked_fill(goes_on, 0).cummax(1).values
    chosen = may_change & (draw.gather(1, first) < share)
    others = replacements[(other * len(replacements)).long()]
    hidden = torch.where(fate < 0.8, mask_token, torch.where(fate < 0.9, others, tokens))
    return torch.where(chosen, hidden, tokens), chosen


class MaskedLanguageModel(nn.Module):
    """Predicts hidden words from what surrounds them.

    Args:
        encoder: The encoder to pretrain.
        head: The model of `transformers.AutoModelForMaskedLM` that the encoder's body was a part of. Its body is taken
            out; what remains reads the outputs. Its table of words stays that of the encoder where they were tied.
    """

    def __init__(self, encoder: TransformerEncoder, head: Any) -> None:
        super().__init__()
        self.encoder = encoder
        setattr(head, head.base_model_prefix, _Read())
        self.head = head
        self.train()  # as every new module is; a pretrained one comes in evaluation mode

    def forward(self, tokens: Tensor, lengths: Tensor, chosen: Tensor, generator: Generator = None) -> Tensor:
        """Logits of the chosen positions; in training mode with the body's dropout, drawn anew.

        Args:
            tokens: What is read, with masks, shape (B, T).
            lengths: Tokens of each document, shape (B,), in main memory.
            chosen: Where to predict, shape (B, T).
            generator: Source of the dropout.

        Returns:
            Shape (N, V), in the order of `tokens[chosen]`.
        """
        if self.encoder.in_windows:  # which have the words in the same order
            parts = windows(lengths, tokens.shape[1], self.encoder.positions, tokens.device)
            tokens, chosen, lengths = parts.of(tokens), parts.of(chosen), parts.lengths
        inside = positions_before(lengths, tokens)
        if self.training:
            self.encoder.seed = new_seed(generator)
        outputs = self.encoder.outputs(self.encoder.words(tokens), inside)
        logits: Tensor = self.head(inputs_embeds=outputs[chosen][None]).logits[0]
        return logits


class _Outputs(NamedTuple):
    """What a head reads of a body."""

    last_hidden_state: Tensor
    hidden_states: None = None
    attentions: None = None


class _Read(nn.Module):
    """Stands in a head for the body, whose outputs are there already."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> _Outputs:
        """Hand the outputs on."""
        return _Outputs(inputs_embeds)
