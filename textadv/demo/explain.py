"""What a classifier makes of one text, and what a small change makes of it: all that the page shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from textadv.adversarial.norms import l2_norm, steepest_step
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch
from textadv.corpus.tokenization import TextTokenizer, valid_text
from textadv.corpus.words import split_words, word_places
from textadv.errors import InputError
from textadv.evaluation.attacks import clean_pass, loss_gradient
from textadv.evaluation.evaluate import probabilities_at
from textadv.evaluation.lexicon import Lexicon
from textadv.evaluation.predictor import Prediction, Predictor
from textadv.evaluation.report.page import shade
from textadv.evaluation.samples import BATCH_TOKENS
from textadv.evaluation.substitution import substitute_words
from textadv.models.clean_pass import CleanPass
from textadv.settings import AttackSettings, FinetuningSettings

MOST_TOKENS = 2000  # of a text: its answer takes seconds, not minutes
MOST_REPLACED = 5  # words
NUM_SIZES = 20  # of perturbations, besides none
FARTHEST = 2.0  # the largest of them, in sizes of training


@dataclass(frozen=True)
class Word:
    """A word of the text, or a part of one."""

    text: str  # with the space before it
    share: float  # of the perturbation's squared norm
    shade: int  # from 0 to `page.SHADES`, strongest where the share is largest
    known: bool  # whether the vocabulary has it


@dataclass(frozen=True)
class Change:
    """The text with some of its words replaced."""

    prediction: Prediction  # for it
    before: list[str]  # the words of the text, each with what stands around it
    after: list[str]  # as many, some of them replaced; together they are the new text


@dataclass(frozen=True)
class Explanation:
    """All that is said about a text."""

    words: list[Word]  # of the text, or of the part of it that was read
    epsilons: list[float]  # L2 norms of perturbations over the whole text, in normalized-embedding units, the first 0
    predictions: list[Prediction]  # at each of them, calibrated where the checkpoint has a temperature
    change: Change | None  # None where none makes the prediction less sure


class Explainer:
    """Explains single texts.

    Args:
        loaded: The classifier; it is moved to the device.
        epsilon: Size of the perturbations that it was trained with, an L2 norm in normalized-embedding units; the
            default setting takes the place of 0.
        device: Where to compute, such as `cuda`.
    """

    def __init__(self, loaded: LoadedClassifier, epsilon: float, device: str = "cpu") -> None:
        largest = FARTHEST * (epsilon or FinetuningSettings().epsilon)
        self.epsilons = np.linspace(0.0, largest, NUM_SIZES + 1)
        self._classifier = loaded.classifier.to(device).eval()
        self._classes, self._temperature, self._device = loaded.classes, loaded.temperature, device
        self._predictor = Predictor(loaded, device)
        self._tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
        # There is no corpus here that would say which tokens are words by themselves: each of them may be one.
        between = [*self._tokenizer.suffix, *self._tokenizer.prefix][0]  # some tokenizers have one of them only
        alone = np.full((self._tokenizer.vocabulary_size, 2), between)
        alone[:, 0] = np.arange(len(alone))
        self._lexicon = Lexicon.of(self._tokenizer, [alone.ravel()], device)

    def explain(self, text: str) -> Explanation:
        """Say what is predicted for a text, which words a perturbation moves, and what replacing words does.

        The perturbation is r_adv = epsilon g / ||g||_2 (FGSM in L2; Miyato et al. 2017, equation 5), with g the
        gradient of the loss of the predicted class. For two classes it is the virtual adversarial one, too.

        Raises:
            InputError: The text is empty, too long, or has no word that the classifier knows.
        """
        if not text.strip():
            raise InputError("there is no text yet")
        text = valid_text(text)
        ids: list[int] = self._tokenizer.documents([text]).tokens.tolist()
        words = slice(len(self._tokenizer.prefix), len(ids) - len(self._tokenizer.suffix))
        if len(ids) > MOST_TOKENS:
            raise InputError(f"the text is too long: it has {len(ids):,} tokens, and {MOST_TOKENS:,} are read here")
        if all(id in self._tokenizer.special_tokens for id in ids[words]):
            raise InputError("the classifier knows none of the words in this text")
        (first,) = self._predictor.predict([text])
        tokens = torch.tensor([ids], device=self._device)
        labels = torch.tensor([self._classes.index(first.label)], device=self._device)
        batch = Batch(tokens, torch.tensor([len(ids)]), labels)
        clean = clean_pass(self._classifier, batch)
        direction = steepest_step(loss_gradient(clean, labels), clean.mask, 1.0, "l2")
        shares = l2_norm(direction[0, words]).square().tolist()
        return Explanation(
            words=self._words(text, ids[words], shares),
            epsilons=self.epsilons.tolist(),
            predictions=[first, *self._along(clean, direction, first.truncated)],
            change=self._change(text, batch, first.label, first.probabilities[first.label]),
        )

    def _words(self, text: str, ids: Sequence[int], shares: Sequence[float]) -> list[Word]:
        known = [id not in self._tokenizer.special_tokens for id in ids]
        pieces = as_typed(text, self._tokenizer.pieces(ids), known)
        strongest = max(shares) ** 0.5
        return [
            Word(piece, share, shade(share**0.5, strongest), is_known)
            for piece, share, is_known in zip(pieces, shares, known, strict=True)
        ]

    @torch.no_grad()
    def _along(self, clean: CleanPass, direction: Tensor, truncated: bool) -> list[Prediction]:
        """What is predicted at each size of the perturbation but 0, of a text by itself."""
        sizes = torch.tensor(self.epsilons[1:], dtype=direction.dtype, device=direction.device)
        logits = [
            self._classifier.classify(
                clean.embeddings + part[:, None, None] * direction, clean.lengths.repeat(len(part))
            )
            for part in torch.split(sizes, max(1, BATCH_TOKENS // direction.shape[1]))
        ]
        rows = probabilities_at(torch.cat(logits).cpu().double().numpy(), self._temperature)
        if not np.isfinite(rows).all():
            raise InputError("the classifier yields numbers that are not finite near this text")
        classes = self._classes
        return [
            Prediction(classes[int(row.argmax())], dict(zip(classes, row.tolist(), strict=True)), truncated)
            for row in rows
        ]

    def _change(self, text: str, batch: Batch, label: str, probability: float) -> Change | None:
        """The strongest change that is found; None where none makes the label less probable."""
        count = int(self._lexicon.count_words(batch.tokens, batch.lengths))
        if not count or not self._lexicon.has_choice:
            return None
        budgets = [number / count for number in range(1, min(count, MOST_REPLACED) + 1)]
        similarity = AttackSettings().minimum_similarity
        result = substitute_words(self._classifier, batch, self._lexicon, budgets, similarity)
        before, *others = (self._lexicon.texts(one, batch.lengths)[0] for one in (batch.tokens, *result.tokens))
        versions = [in_text(text, split_words(before), split_words(after)) for after in others]
        predictions = self._predictor.predict("".join(after) for _, after in versions)
        changes = [Change(prediction, *version) for prediction, version in zip(predictions, versions, strict=True)]
        best = strongest(changes, label)
        return best if best.prediction.probabilities[label] < probability else None


def strongest(changes: Sequence[Change], label: str) -> Change:
    """The change that takes the label away; else, or of several, the one at which that is least probable."""
    return min(changes, key=lambda one: (one.prediction.label == label, one.prediction.probabilities[label]))


def as_typed(text: str, pieces: Sequence[str], known: Sequence[bool]) -> list[str]:
    """The words of a text as they were typed, where each of them is one token; else the tokens as they are read.

    Args:
        text: The text.
        pieces: Its tokens.
        known: Whether each of them is a word of the vocabulary; what is not reads differently.
    """
    typed = [text[start:end].lower() for start, end in word_places(text)]
    if len(typed) != len(pieces):
        return list(pieces)
    read = [piece.strip().lower() for piece in pieces]
    alike = all(one == other for one, other, is_known in zip(read, typed, known, strict=True) if is_known)
    return split_words(text) if alike else list(pieces)


def in_text(text: str, before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a text and those of the changed text, with what was typed around them.

    Args:
        text: The text.
        before: Its words as the classifier has read them.
        after: As many, some of them replaced.

    Returns:
        Both, with the case and the punctuation of the text where it has as many words.
    """
    typed = split_words(text)
    if len(typed) != len(before):
        return list(before), list(after)
    changed = [own if old == new else _with_word(own, new) for own, old, new in zip(typed, before, after, strict=True)]
    return typed, changed


def _with_word(piece: str, other: str) -> str:
    """A word with what stands around it, the word replaced by that of another piece."""
    (start, end), (first, last) = word_places(piece)[0], word_places(other)[0]
    return piece[:start] + other[first:last] + piece[end:]
