"""Word substitution guided by the gradient: an attack whose result is text (after HotFlip, Ebrahimi et al. 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textadv.adversarial.attacks import gradient_at
from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.interpretable import nearest_words
from textadv.corpus.batching import Batch
from textadv.corpus.padding import Indices
from textadv.corpus.words import split_words
from textadv.evaluation.lexicon import Lexicon
from textadv.evaluation.samples import Sample
from textadv.models.classifier import Classifier
from textadv.precision import in_float64
from textadv.settings import AttackSettings

NUM_NEIGHBOURS = 10
ROUNDS = 2  # gradients per budget
NUM_EXAMPLES = 5
EXAMPLE_WORDS = 150  # longer documents are shown only where there are too few short ones


class Substitution(NamedTuple):
    """A batch under attack with a growing budget."""

    tokens: Tensor  # the changed documents at each budget, (budgets, B, T)
    fooled: Tensor  # whether the label is lost at this budget or a smaller one, (budgets, B)
    words: Tensor  # words of each document, (B,)
    exchangeable: Tensor  # how many of them the attack can replace, (B,)


@dataclass(frozen=True)
class ChangedDocument:
    """What a substitution attack made of one document."""

    document: int  # its number in the split
    label: str  # its class
    predicted: str  # the class predicted once it is changed
    budget: float  # the smallest budget at which the label is lost, or the largest if it never is
    before: list[str]  # its words, each with what stands around it
    after: list[str]  # as many, some of them replaced

    @property
    def replaced(self) -> int:
        """How many words are."""
        return sum(old != new for old, new in zip(self.before, self.after, strict=True))

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """By which examples for people are chosen, smallest first: label lost, short, then as they come."""
        return self.predicted == self.label, len(self.before) > EXAMPLE_WORDS, self.document


@dataclass(frozen=True)
class WordCurve:
    """Accuracy when words are replaced."""

    budgets: list[float]  # shares of the words that may be changed, rising
    accuracy: list[float]  # the share of the documents that keeps its label, at each budget
    exchangeable: float  # the share of the words that the attack can replace
    examples: list[ChangedDocument]  # a few changed documents


def substitution_curve(
    classifier: Classifier,
    sample: Sample,
    lexicon: Lexicon,
    settings: AttackSettings,
    classes: Sequence[str],
    device: str = "cpu",
) -> WordCurve:
    """Attack documents with `substitute_words`; classifier and lexicon, which has a choice, are on the device."""
    budgets = settings.word_budgets
    fooled, words, exchangeable = [], 0, 0
    examples: list[ChangedDocument] = []
    for places, batch in sample.batches(device, "replacing words"):
        result = substitute_words(classifier, batch, lexicon, budgets, settings.minimum_similarity)
        fooled.append(result.fooled.cpu().numpy())
        words, exchangeable = words + int(result.words.sum()), exchangeable + int(result.exchangeable.sum())
        examples += changed_documents(classifier, batch, result, budgets, sample.rows[places], lexicon, classes)
    accuracy = (~np.concatenate(fooled, axis=1)).mean(1)
    examples = sorted(examples, key=lambda example: example.rank)[:NUM_EXAMPLES]
    return WordCurve(budgets, accuracy.tolist(), exchangeable / max(words, 1), examples)


def near_words(table: Tensor, words: Tensor, excluded: Tensor) -> Tensor:
    """The `NUM_NEIGHBOURS` words nearest to each of the given ones, or as many as the vocabulary has.

    Arguments are those of `nearest_words`, as is the result, (N, K); K is 0 where there are no two words.
    """
    count = min(NUM_NEIGHBOURS, int((~excluded).sum()) - 1)
    return words.new_empty((len(words), 0)) if count < 1 else nearest_words(table, words, count, excluded)


def substitute_words(
    classifier: Classifier, batch: Batch, lexicon: Lexicon, budgets: Sequence[float], minimum_similarity: float
) -> Substitution:
    """Replace words by near neighbours in embedding space so that the label is lost.

    In each round the gradient g of the cross entropy says what replacing word v by w would add, to first order:
    (w - v) g (Ebrahimi et al. 2018, equation 1). The best replacements of a document are made at once, at most so many
    as the budget allows; a changed word is not changed again, and a document that has lost its label is left as it is.
    What is classified is a text: its tokens are those that it is encoded as. A document of which that cannot be said is
    left as it is (`TextTokenizer.decode`), and so are words that are no token by themselves (`Lexicon`), though they
    count as words.

    Args:
        classifier: In evaluation mode.
        batch: The documents.
        lexicon: The words of the vocabulary; it has a choice.
        budgets: Shares of the words that may be changed, rising, each in (0, 1].
        minimum_similarity: Least cosine similarity of a word and its replacement.
    """
    original, lengths, labels = batch
    words = lexicon.count_words(original, lengths)  # (B,)
    words_in_batch, places = torch.unique(original, return_inverse=True)
    table = classifier.encoder.word_table()  # (V, D)
    fixed = F.pad(lexicon.fixed, (0, len(table) - len(lexicon.fixed)), value=True)  # a table may have spare entries
    neighbours = near_words(table, words_in_batch, fixed)  # (U, K)
    close = torch.cosine_similarity(table[words_in_batch][:, None], table[neighbours], dim=2) >= minimum_similarity
    candidates, allowed = neighbours[places], close[places]  # (B, T, K)
    free = lexicon.exchangeable(original, lengths)  # (B, T)
    tokens = original.clone()
    lost = _lost(classifier, tokens, lengths, labels)
    states, fooled = [], []
    for budget in budgets:
        for rest in range(ROUNDS, 0, -1):
            most = (in_float64(words) * budget + 1e-9).floor().to(words)  # (B,)
            left = most - (tokens != original).sum(1)
            allowance = left.clamp(min=0).add(rest - 1).div(rest, rounding_mode="floor").masked_fill(lost, 0)
            rows = allowance.nonzero().squeeze(1)
            if not len(rows):
                continue
            before, spans = tokens[rows], lengths[rows.cpu()]
            usable = allowed[rows] & (free[rows] & (before == original[rows]))[:, :, None]  # (b, T, K)
            gradient = _gradient(classifier, before, spans, labels[rows])  # (b, T, D)
            gains = torch.einsum("btkd,btd->btk", table[candidates[rows]], gradient)
            gains = gains - (table[before] * gradient).sum(2, keepdim=True)
            best, choice = gains.masked_fill(~usable, -torch.inf).max(2)  # (b, T)
            ranks = best.argsort(1, descending=True).argsort(1)
            change = (ranks < allowance[rows, None]) & (best > 0)
            after = torch.where(change, candidates[rows].gather(2, choice[:, :, None]).squeeze(2), before)
            after = torch.where(lexicon.is_encoded_so(after, spans)[:, None], after, before)
            tokens[rows], lost[rows] = after, _lost(classifier, after, spans, labels[rows])
        states.append(tokens.clone())
        fooled.append(lost.clone())
    return Substitution(torch.stack(states), torch.stack(fooled), words, (free & allowed.any(2)).sum(1))


def changed_documents(
    classifier: Classifier,
    batch: Batch,
    result: Substitution,
    budgets: Sequence[float],
    rows: Indices,
    lexicon: Lexicon,
    classes: Sequence[str],
) -> list[ChangedDocument]:
    """What became of the documents that are changed; all of them were classified rightly before.

    Args:
        classifier: The one attacked.
        batch: The documents.
        result: What `substitute_words` made of them, with these budgets.
        budgets: Shares of the words.
        rows: Number of each document in the split.
        lexicon: The words of the vocabulary.
        classes: Names of the classes.
    """
    at = torch.where(result.fooled.any(0), result.fooled.int().argmax(0), len(budgets) - 1)  # (B,)
    after = result.tokens[at, torch.arange(len(at), device=at.device)]  # (B, T)
    with torch.inference_mode():
        predicted = classifier(after, batch.lengths).argmax(1)
    before, changed = ([*map(split_words, lexicon.texts(tokens, batch.lengths))] for tokens in (batch.tokens, after))
    return [
        ChangedDocument(
            int(rows[i]),
            classes[int(batch.labels[i])],
            classes[int(predicted[i])],
            budgets[int(at[i])],
            before[i],
            changed[i],
        )
        for i in (after != batch.tokens).any(1).nonzero().flatten().tolist()  # a wrong one is left as it is
    ]


def _gradient(classifier: Classifier, tokens: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the cross entropy with respect to the embeddings, (B, T, D)."""
    return gradient_at(classifier.embed(tokens), lambda x: cross_entropy(classifier.classify(x, lengths), labels))


def _lost(classifier: Classifier, tokens: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """Whether another class than the label is predicted, (B,)."""
    with torch.no_grad():
        lost: Tensor = classifier(tokens, lengths).argmax(1) != labels
        return lost
