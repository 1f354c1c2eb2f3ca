from typing import Literal

import numpy as np
import pytest
import torch

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch, collate
from textadv.corpus.fitting import fit
from textadv.corpus.tokenization import TextTokenizer
from textadv.evaluation.lexicon import Lexicon
from textadv.settings import TokenizerSettings

TEXT = "The film wasn't (good) but the filming café — 10th film_plot, good film."
SETTINGS = TokenizerSettings("bpe", max_vocabulary=330, min_documents=1)
BPE_TEXTS = 50 * [" The the film films plot good but 10 was subset subplot subgood subfilm"]


@pytest.fixture(scope="module")
def bpe() -> TextTokenizer:
    """One with tokens for words such as film, and for the beginning of others, sub."""
    return fit({"train": BPE_TEXTS}, ["train"], SETTINGS)[0]


def lexicon_of(tokenizer: TextTokenizer, texts: list[str]) -> Lexicon:
    return Lexicon.of(tokenizer, [tokenizer.documents(texts[::2]).tokens, tokenizer.documents(texts[1::2]).tokens])


def encode(tokenizer: TextTokenizer, *texts: str) -> Batch:
    return collate(tokenizer.encode(texts), np.zeros(len(texts), np.int64))


def exchangeable(lexicon: Lexicon, text: str) -> list[str]:
    tokens, lengths, _ = encode(lexicon.tokenizer, text, "")
    (marks, nothing) = lexicon.exchangeable(tokens, lengths)
    assert not nothing.any()
    return [lexicon.tokenizer.token(int(token)) for token in tokens[0, marks]]


def test_stop_words_and_special_tokens_are_fixed(loaded: LoadedClassifier) -> None:
    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    fixed = Lexicon.of(tokenizer, [np.arange(tokenizer.vocabulary_size)]).fixed
    words = {tokenizer.token(i) for i in fixed.nonzero().flatten().tolist()}
    assert {"a", "with", "and", "many"} & words == {"a", "with", "and"}
    assert fixed[:3].all()
    assert not fixed.all()


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_parts_of_contractions_are_stop_words(kind: Literal["word", "bpe"]) -> None:
    text = "it isn't what they'd wasn't couldn't i'll we've you're i'm don't weren't let's"
    tokenizer, documents = fit(
        {"train": [" ".join(20 * [text])]}, ["train"], TokenizerSettings(kind=kind, min_documents=1)
    )
    lexicon = Lexicon.of(tokenizer, [documents["train"].tokens])
    assert lexicon.fixed[documents["train"].tokens].all()


def test_under_bpe_whole_words_of_one_token_may_be_exchanged(bpe: TextTokenizer) -> None:
    lexicon = lexicon_of(bpe, BPE_TEXTS)
    assert exchangeable(lexicon, TEXT) == [" film", " film", " good", " film"]
    assert exchangeable(lexicon, "films, filmsé plot\u2014 plot\u0301 plots plot_ plot") == [" films", " plot", " plot"]


def test_the_beginning_of_words_is_no_word(bpe: TextTokenizer) -> None:
    assert bpe.encode([" sub"])[0].tolist()[1:] == [2]
    assert exchangeable(lexicon_of(bpe, BPE_TEXTS), "sub film") == [" film"]
    assert exchangeable(lexicon_of(bpe, [*BPE_TEXTS, "sub: film"]), "sub film") == [" sub", " film"]


def test_of_words_all_may_be_exchanged_but_stop_words_and_unknown_ones() -> None:
    texts = ["the film wasn't good the café"]
    tokenizer = fit({"train": texts}, ["train"], TokenizerSettings(min_documents=1))[0]
    assert exchangeable(lexicon_of(tokenizer, texts), TEXT) == ["film", "good", "café", "film", "good", "film"]


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_words_are_counted_however_many_tokens_they_have(kind: Literal["word", "bpe"]) -> None:
    settings = TokenizerSettings(kind, max_vocabulary=330, min_documents=1)
    tokenizer = fit({"train": 50 * ["film good but"]}, ["train"], settings)[0]
    tokens, lengths, _ = encode(tokenizer, TEXT, "", "film")
    assert lexicon_of(tokenizer, []).count_words(tokens, lengths).tolist() == [14, 0, 1]


def test_tokens_that_no_text_has_are_found_out(bpe: TextTokenizer) -> None:
    lexicon = lexicon_of(bpe, BPE_TEXTS)
    tokens, lengths, _ = encode(bpe, "the film plot", "the film")
    assert lexicon.texts(tokens, lengths) == [" the film plot", " the film"]
    assert lexicon.is_encoded_so(tokens, lengths).tolist() == [True, True]
    pieces = {bpe.token(i): i for i in range(bpe.vocabulary_size)}
    apart = torch.tensor([[pieces[" film"], pieces["s"], 2]])  # of " films" a token is made
    assert lexicon.texts(apart, torch.tensor([3])) == [" films"]
    assert lexicon.is_encoded_so(apart, torch.tensor([3])).tolist() == [False]
