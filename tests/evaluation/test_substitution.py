from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from textadv.adversarial.divergences import cross_entropy
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch
from textadv.corpus.tokenization import TextTokenizer, fit
from textadv.errors import InputError
from textadv.evaluation.substitution import ChangedDocument, changed_documents, fixed_words, substitute_words
from textadv.settings import TokenizerSettings

BUDGETS = [0.1, 0.25, 0.5]


@pytest.fixture
def fixed(loaded: LoadedClassifier) -> Tensor:
    return fixed_words(TextTokenizer.from_json(loaded.tokenizer_json))


@pytest.fixture
def batch(loaded: LoadedClassifier) -> Batch:
    """Documents with the labels that they are given."""
    lengths = torch.tensor([13, 9, 5, 1])
    tokens = torch.randint(3, 16, (4, 13), generator=torch.Generator().manual_seed(3))
    tokens[torch.arange(4), lengths - 1] = 2
    tokens = tokens.masked_fill(torch.arange(13) >= lengths[:, None], 0)
    with torch.no_grad():
        return Batch(tokens, lengths, loaded.classifier(tokens, lengths).argmax(1))


def test_stop_words_and_special_tokens_are_fixed(loaded: LoadedClassifier, fixed: Tensor) -> None:
    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    words = {tokenizer.token(i) for i in fixed.nonzero().flatten().tolist()}
    assert {"a", "with", "and", "many"} & words == {"a", "with", "and"}
    assert fixed[:3].all()


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_parts_of_contractions_are_stop_words(kind: Literal["word", "bpe"]) -> None:
    text = "it isn't what they'd wasn't couldn't i'll we've you're i'm don't weren't let's"
    tokenizer, documents = fit(
        {"train": [" ".join(20 * [text])]}, ["train"], TokenizerSettings(kind=kind, min_documents=1)
    )
    assert fixed_words(tokenizer)[documents["train"].tokens].all()


def test_changes_stay_in_the_budget_and_grow(loaded: LoadedClassifier, batch: Batch, fixed: Tensor) -> None:
    result = substitute_words(loaded.classifier, batch, fixed, BUDGETS, -1.0)
    changed = result.tokens != batch.tokens
    words = batch.lengths - 1
    for budget, change in zip(BUDGETS, changed, strict=True):
        assert (change.sum(1) <= budget * words).all()
    assert (changed[1:] | ~changed[:-1]).all()
    assert (result.tokens[1:] == result.tokens[:-1])[changed[:-1]].all()  # no word is changed twice
    assert changed[-1].any()
    assert not changed[:, 3].any()


def test_only_words_become_words(loaded: LoadedClassifier, batch: Batch, fixed: Tensor) -> None:
    result = substitute_words(loaded.classifier, batch, fixed, BUDGETS, -1.0)
    changed = result.tokens[-1] != batch.tokens
    assert not fixed[batch.tokens[changed]].any()
    assert not fixed[result.tokens[-1][changed]].any()


def test_replacements_are_similar(loaded: LoadedClassifier, batch: Batch, fixed: Tensor) -> None:
    table = loaded.classifier.encoder.embedding(torch.arange(len(fixed))).detach()
    similarity = torch.cosine_similarity(table[:, None], table[None], dim=2)
    for least in (0.0, 0.3):
        result = substitute_words(loaded.classifier, batch, fixed, [1.0], least)
        changed = result.tokens[-1] != batch.tokens
        assert changed.any()
        assert (similarity[batch.tokens[changed], result.tokens[-1][changed]] >= least - 1e-6).all()
    assert not (substitute_words(loaded.classifier, batch, fixed, [1.0], 1.01).tokens[-1] != batch.tokens).any()


def test_fooled_documents_are_those_that_lose_their_label(
    loaded: LoadedClassifier, batch: Batch, fixed: Tensor
) -> None:
    result = substitute_words(loaded.classifier, batch, fixed, BUDGETS, -1.0)
    with torch.no_grad():
        predictions = torch.stack([loaded.classifier(t, batch.lengths).argmax(1) for t in result.tokens])
    assert (result.fooled == (predictions != batch.labels)).all()
    assert (result.fooled[1:] | ~result.fooled[:-1]).all()
    with torch.no_grad():
        before = cross_entropy(loaded.classifier(batch.tokens, batch.lengths), batch.labels)
        after = cross_entropy(loaded.classifier(result.tokens[-1], batch.lengths), batch.labels)
    changed = (result.tokens[-1] != batch.tokens).any(1)
    assert (after > before)[changed].all()


def test_a_wrong_document_is_left_as_it_is(loaded: LoadedClassifier, batch: Batch, fixed: Tensor) -> None:
    wrong = batch._replace(labels=(batch.labels + 1) % 3)
    result = substitute_words(loaded.classifier, wrong, fixed, BUDGETS, -1.0)
    assert result.fooled.all()
    assert (result.tokens == batch.tokens).all()


def test_a_vocabulary_without_two_words_is_refused(loaded: LoadedClassifier, batch: Batch, fixed: Tensor) -> None:
    with pytest.raises(InputError, match="no two words"):
        substitute_words(loaded.classifier, batch, torch.ones_like(fixed), BUDGETS, 0.0)


def test_examples_are_documents_that_were_right_and_are_changed(
    loaded: LoadedClassifier, batch: Batch, fixed: Tensor
) -> None:
    wrong = batch._replace(labels=torch.where(torch.arange(4) == 1, (batch.labels + 1) % 3, batch.labels))
    result = substitute_words(loaded.classifier, wrong, fixed, BUDGETS, -1.0)
    rows = np.array([40, 50, 60, 70])
    examples = changed_documents(loaded.classifier, wrong, result, BUDGETS, rows, 9)
    assert {example.document for example in examples} <= {40, 60}  # one was wrong before, one has no words
    assert examples
    for example in examples:
        i = rows.tolist().index(example.document)
        assert example.before == batch.tokens[i, : batch.lengths[i] - 1].tolist()
        assert example.label == batch.labels[i]
        at = BUDGETS.index(example.budget)
        assert example.after == result.tokens[at, i, : batch.lengths[i] - 1].tolist()
        lost = result.fooled[:, i]
        assert bool(lost[at]) == (example.predicted != example.label)
        assert not lost[:at].any()
        assert lost[at] or at == len(BUDGETS) - 1
        tokens = torch.tensor([[*example.after, 2]])
        assert loaded.classifier(tokens, batch.lengths[i : i + 1]).argmax(1).item() == example.predicted
    assert changed_documents(loaded.classifier, wrong, result, BUDGETS, rows, 1) == examples[:1]


def test_examples_that_lose_their_label_come_first_then_short_ones() -> None:
    def example(document: int, lost: bool, words: int) -> ChangedDocument:
        return ChangedDocument(document, 0, int(lost), 0.1, [3] * words, [4] * words)

    examples = [example(2, False, 9), example(1, True, 999), example(6, True, 8), example(5, True, 9)]
    assert [found.document for found in sorted(examples, key=lambda example: example.rank)] == [5, 6, 1, 2]
