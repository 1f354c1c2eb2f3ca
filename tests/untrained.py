"""Classifiers without a training, as tests use them."""

from dataclasses import replace

import torch

from textadv.checkpoints import FORMAT, LoadedClassifier
from textadv.corpus.fitting import fit
from textadv.models.classifier import Classifier
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import FinetuningSettings, ModelSettings, TokenizerSettings

CLASSES = ("bad", "fine", "good")
WORDS = "a film with plot and many words one two three four five six seven"
MODEL = ModelSettings(embedding_size=5, hidden_size=6, bidirectional=True, pooling="last_mean_max", head_size=8)
FINETUNING = FinetuningSettings(window=4, dropout=0.5)  # the window of training


def random_weights(classifier: Classifier) -> Classifier:
    """Weights that give logits far from each other, so that mistakes show; the classifier, in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.5)
        classifier.head[0].weight.mul_(8)
    return classifier.eval()


def untrained_classifier(unknown: str = "replace", kind: str = "word", encoder: str = "lstm") -> LoadedClassifier:
    """A random classifier whose predictions differ from text to text, with the settings of its tokenizer."""
    tokenizer, _ = fit({"train": [WORDS]}, ["train"], TokenizerSettings(kind, min_documents=1, unknown=unknown))
    model = replace(MODEL, encoder=encoder)
    torch.manual_seed(0)
    body = build_encoder(model, torch.ones(tokenizer.vocabulary_size), dropout=FINETUNING.dropout)
    classifier = build_classifier(model, body, len(CLASSES))
    with torch.no_grad():
        # A head whose ReLUs are all off, or whose softmax is saturated, would hide what the encoder read.
        classifier.head[0].weight.mul_(3)
        classifier.head[0].bias.fill_(1)
        classifier.head[2].bias.zero_()
    card = {
        "format": FORMAT,
        "kind": "classifier",
        "settings": {"model": vars(model), "finetuning": vars(FINETUNING)},
        "classes": list(CLASSES),
        "tokenizer": tokenizer.to_json(),
        "tokenizer_fingerprint": "t",
        "vocabulary_size": tokenizer.vocabulary_size,
    }
    return LoadedClassifier(classifier.eval(), CLASSES, tokenizer.to_json(), card)
