"""Documents in words: how far a perturbation moves each of them, and towards which others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from textadv.adversarial.interpretable import interpretable_perturbation, word_directions
from textadv.adversarial.norms import steepest_step
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Documents
from textadv.corpus.tokenization import TextTokenizer
from textadv.evaluation.attacks import clean_pass, loss_gradient, neighbours_of
from textadv.evaluation.samples import Sample
from textadv.evaluation.substitution import EXAMPLE_WORDS
from textadv.precision import in_float64

MOST_MOVED = 5
SHOWN_WORDS = 2 * EXAMPLE_WORDS  # of a longer document the end is shown


@dataclass(frozen=True)
class Move:
    """What an interpretable perturbation does to a word."""

    word: str  # the word
    place: int  # its number among the words
    size: float  # how far it is moved, an L2 norm
    towards: str | None  # where to with the largest weight; None where it moves away from all its neighbours


@dataclass(frozen=True)
class WordExample:
    """How perturbations move the words of a document."""

    document: int  # its number in the split
    label: str  # its class
    predicted: str  # the class predicted unperturbed
    probability: float  # of that class
    predicted_perturbed: str  # the class predicted at x + r_adv
    probability_perturbed: float  # of that class
    epsilon: float  # L2 norm of r_adv over the whole sequence
    words: list[str]  # its words, of a long document the last ones
    sizes: list[float]  # L2 norm of r_adv at each of them
    skipped: int  # how many words come before
    moves: list[Move]  # what the interpretable perturbation moves most, the largest move first


def choose_examples(sample: Sample, count: int, num_special: int = 1) -> Sample:
    """The first documents of a sample that have words and are short enough to be read; longer ones if there are not.

    `num_special` is the number of tokens around the words of each document.
    """
    words = sample.lengths - num_special
    by_length = sorted(range(len(words)), key=lambda i: (words[i] > EXAMPLE_WORDS, i))
    return Sample(sample.split, sample.rows[[i for i in by_length if words[i] > 0][:count]])


@torch.no_grad()
def word_examples(loaded: LoadedClassifier, sample: Sample, epsilon: float, device: str = "cpu") -> list[WordExample]:
    """How perturbations move the words of documents, each of which has at least one; the classifier is on the device.

    Epsilon is the L2 norm of r_adv over the whole sequence, and of the weights of the interpretable perturbation, in
    normalized-embedding units.
    """
    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    reader = Documents(sample.split)

    def prediction(logits: Tensor) -> tuple[str, float]:
        probability, best = in_float64(logits).softmax(1)[0].max(0)
        return loaded.classes[int(best)], float(probability)

    examples = []
    for row in sample.rows:
        batch = reader.batch(row[None]).to(device)
        clean = clean_pass(loaded.classifier, batch)
        gradient = loss_gradient(clean, batch.labels)
        r_adv = steepest_step(gradient, clean.mask, epsilon, "l2")
        words = slice(len(tokenizer.prefix), batch.tokens.shape[1] - len(tokenizer.suffix))
        pieces = tokenizer.pieces(batch.tokens[0, words].tolist())
        skipped = max(0, len(pieces) - SHOWN_WORDS)
        examples.append(
            WordExample(
                int(row),
                loaded.classes[int(batch.labels)],
                *prediction(clean.logits),
                *prediction(clean.logits_at(r_adv)),
                epsilon=epsilon,
                words=pieces[skipped:],
                sizes=r_adv[0, words].norm(dim=1)[skipped:].tolist(),
                skipped=skipped,
                moves=_moves(tokenizer, loaded, batch.tokens[:, words], gradient[:, words], epsilon),
            )
        )
    return examples


def _moves(
    tokenizer: TextTokenizer, loaded: LoadedClassifier, tokens: Tensor, gradient: Tensor, epsilon: float
) -> list[Move]:
    """The words of one document, (1, T), that the interpretable perturbation moves most, and where to."""
    neighbours = neighbours_of(loaded.classifier, tokens)
    if neighbours.shape[2] == 0:
        return []
    table = loaded.classifier.encoder.word_table()
    directions = word_directions(table[tokens], table[neighbours])
    r, weights = interpretable_perturbation(gradient, directions, torch.ones_like(tokens, dtype=torch.bool), epsilon)
    sizes = r[0].norm(dim=1)
    moves = []
    for place in sizes.argsort(descending=True)[:MOST_MOVED].tolist():
        weight, nearest = weights[0, place].max(0)
        towards = tokenizer.token(int(neighbours[0, place, nearest])).strip() if weight > 0 else None
        moves.append(Move(tokenizer.token(int(tokens[0, place])).strip(), place, float(sizes[place]), towards))
    return moves
