"""Documents in words: how far a perturbation moves each of them, and towards which others."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from textadv.adversarial.divergences import cross_entropy
from textadv.adversarial.interpretable import interpretable_perturbation
from textadv.adversarial.norms import perturbation_mask, steepest_step
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Documents
from textadv.corpus.tokenization import TextTokenizer
from textadv.evaluation.attacks import Victim, directions_to_neighbours
from textadv.evaluation.report.measure import Sample
from textadv.evaluation.substitution import EXAMPLE_WORDS
from textadv.models.classifier import Classifier

MOST_MOVED = 5
SHOWN_WORDS = 2 * EXAMPLE_WORDS  # of a longer document the end is shown


def choose_examples(sample: Sample, count: int) -> Sample:
    """The first documents of a sample that have words and are short enough to be read; longer ones if there are not.

    Args:
        sample: Documents.
        count: How many at most.

    Returns:
        The choice.
    """
    words = sample.split.lengths[sample.rows] - 1
    by_length = sorted(range(len(words)), key=lambda i: (words[i] > EXAMPLE_WORDS, i))
    chosen = [i for i in by_length if words[i] > 0][:count]
    return Sample(sample.split, sample.rows[chosen])


def word_examples(
    loaded: LoadedClassifier, sample: Sample, epsilon: float, device: str = "cpu"
) -> list[dict[str, Any]]:
    """How perturbations move the words of documents.

    Args:
        loaded: The classifier.
        sample: The documents, each with at least one word.
        epsilon: L2 norm of r_adv over the whole sequence, and of the weights of the interpretable perturbation, in
            normalized-embedding units.
        device: Where the classifier is.

    Returns:
        For each document: its number (`document`), `label`, prediction and probability unperturbed (`predicted`,
        `probability`) and at x + r_adv (`predicted_perturbed`, `probability_perturbed`), `epsilon`; `words` with the L2
        norm of r_adv at each (`sizes`), the last ones only where `skipped` is not 0; and `moves` of the words that the
        interpretable perturbation moves most: `word`, its `place` among the words, `size`, and the word it is moved
        `towards` with the largest weight, None if it is moved away from all its neighbours.
    """
    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    reader = Documents(sample.split)
    examples = []
    for row in sample.rows:
        batch = reader.batch(row[None]).to(device)
        victim = Victim.of(loaded.classifier, batch)
        x = victim.embeddings.clone().requires_grad_()
        logits = loaded.classifier.classify(x, victim.lengths)
        (gradient,) = torch.autograd.grad(cross_entropy(logits, batch.labels).sum(), x)
        mask = perturbation_mask(victim.lengths, x)
        r_adv = steepest_step(gradient, mask, epsilon, "l2")
        tokens = batch.tokens[0, :-1]
        pieces = tokenizer.pieces(tokens.tolist())
        skipped = max(0, len(pieces) - SHOWN_WORDS)
        examples.append(
            {
                "document": int(row),
                "label": loaded.classes[int(batch.labels)],
                **_prediction(loaded.classes, logits.detach(), ""),
                **_prediction(loaded.classes, victim.logits(r_adv), "_perturbed"),
                "epsilon": epsilon,
                "words": pieces[skipped:],
                "sizes": r_adv[0, skipped:-1].norm(dim=1).tolist(),
                "skipped": skipped,
                "moves": _moves(tokenizer, loaded.classifier, tokens, gradient[:, :-1], epsilon),
            }
        )
    return examples


def _prediction(classes: Sequence[str], logits: Tensor, suffix: str) -> dict[str, Any]:
    probability, best = logits.double().softmax(1)[0].max(0)
    return {f"predicted{suffix}": classes[int(best)], f"probability{suffix}": float(probability)}


def _moves(
    tokenizer: TextTokenizer, classifier: Classifier, tokens: Tensor, gradient: Tensor, epsilon: float
) -> list[dict[str, Any]]:
    """The words that the interpretable perturbation moves most, and where to."""
    neighbours, directions = directions_to_neighbours(classifier, tokens[None])
    if neighbours.shape[2] == 0:
        return []
    mask = torch.ones_like(tokens, dtype=torch.bool)[None]
    r, weights = interpretable_perturbation(gradient, directions, mask, epsilon)
    sizes = r[0].norm(dim=1)
    moves = []
    for place in sizes.argsort(descending=True)[:MOST_MOVED].tolist():
        weight, nearest = weights[0, place].max(0)
        towards = tokenizer.token(int(neighbours[0, place, nearest])).strip() if weight > 0 else None
        word = tokenizer.token(int(tokens[place])).strip()
        moves.append({"word": word, "place": place, "size": float(sizes[place]), "towards": towards})
    return moves
