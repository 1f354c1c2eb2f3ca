"""Attacks and predictions with every encoder, from texts on."""

from pathlib import Path

import pytest
import torch
from encoders import ONE_OF_EACH, TRANSFORMERS, make_encoder
from norm_of import norm_of
from untrained import random_weights

from textadv.adversarial.divergences import cross_entropy
from textadv.attack_names import parse_attack
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch
from textadv.corpus.fitting import fit
from textadv.corpus.tokenization import TextTokenizer
from textadv.evaluation.attacks import clean_pass, perturb, right_under_attacks
from textadv.evaluation.predictor import Predictor
from textadv.models.classifier import Classifier
from textadv.settings import TokenizerSettings

CLASSES = ("bad", "so-so", "good")
LIMIT = 9  # tokens that the Transformer reads
TEXTS = ["the film was good", "dull", "the plot was fine and the cast was lovely and great and good", "", "bad score"]

pytestmark = pytest.mark.parametrize("name", ONE_OF_EACH)


@pytest.fixture
def loaded(name: str, tmp_path: Path) -> LoadedClassifier:
    """A random classifier with the tokenizer of its encoder."""
    if name in TRANSFORMERS:
        from tiny_transformers import write_tokenizer

        from textadv.corpus.pretrained_tokenizer import read_tokenizer

        write_tokenizer(tmp_path)
        tokenizer: TextTokenizer = read_tokenizer(tmp_path, LIMIT, "head")
    else:
        tokenizer, _ = fit({"train": TEXTS}, ["train"], TokenizerSettings(min_documents=1))
    encoder = make_encoder(name, torch.arange(1, tokenizer.vocabulary_size + 1))
    classifier = random_weights(Classifier(encoder, len(CLASSES), head_size=8))
    return LoadedClassifier(classifier, CLASSES, tokenizer.to_json(), {})


def one_by_one(loaded: LoadedClassifier) -> list[list[float]]:
    """Probabilities of each text by itself, token ids read without embeddings."""
    found = []
    for (tokens,) in ([*TextTokenizer.from_json(loaded.tokenizer_json).encode([text])] for text in TEXTS):
        with torch.no_grad():
            logits = loaded.classifier(torch.from_numpy(tokens).long()[None], torch.tensor([len(tokens)]))
        found.append(logits.double().softmax(1)[0].tolist())
    return found


def test_predictions_are_those_of_each_text_alone(loaded: LoadedClassifier, name: str) -> None:
    predictions = list(Predictor(loaded).predict(TEXTS))
    for prediction, expected in zip(predictions, one_by_one(loaded), strict=True):
        assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=1e-6)
    assert len({round(max(prediction.probabilities.values()), 4) for prediction in predictions}) > 2
    assert [prediction.truncated for prediction in predictions].count(True) == (name in TRANSFORMERS)


@pytest.mark.parametrize("kind", ["fgsm-l2", "pgd-linf", "interpretable-l2"])
def test_attacks_raise_the_loss_and_move_words_only(loaded: LoadedClassifier, kind: str) -> None:
    documents = TextTokenizer.from_json(loaded.tokenizer_json).documents([text for text in TEXTS if text])
    lengths = torch.from_numpy(documents.lengths)
    tokens = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one).long() for one in documents], batch_first=True)
    victim = clean_pass(loaded.classifier.double(), Batch(tokens, lengths, lengths), interpretable=True)
    labels, attack = victim.logits.argmax(1), parse_attack(kind, CLASSES, "--attack.attacks", num_steps=5)
    r = perturb(attack, victim, labels, 0.05, torch.Generator().manual_seed(1))
    assert not r[~victim.mask].any()
    if not attack.needs_directions:  # which have no norm of 1
        assert (norm_of(r, attack.norm) <= 0.05 * (1 + 1e-6)).all()
    before, after = (cross_entropy(logits, labels) for logits in (victim.logits, victim.logits_at(r)))
    assert (after > before).all()
    (right,) = right_under_attacks([(attack, [0.0])], victim, victim, labels, torch.Generator().manual_seed(1))
    assert right.all()
