from collections.abc import Callable

import numpy as np
import pytest
import torch

from textadv.checkpoints import FORMAT, LoadedClassifier
from textadv.corpus.fitting import fit
from textadv.corpus.store import Split
from textadv.corpus.tokenization import TextTokenizer
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import FinetuningSettings, ModelSettings, TokenizerSettings

CLASSES = ("bad", "fine", "good")
WORDS = "a film with plot and many words one two three four five six seven"
MODEL = ModelSettings(embedding_size=5, hidden_size=6, bidirectional=True, pooling="last_mean_max", head_size=8)
FINETUNING = FinetuningSettings(window=4, dropout=0.5)  # the window of training


@pytest.fixture
def make_loaded() -> Callable[..., LoadedClassifier]:
    """A random classifier whose predictions differ from text to text."""

    def make(unknown: str = "replace") -> LoadedClassifier:
        tokenizer, _ = fit({"train": [WORDS]}, ["train"], TokenizerSettings(min_documents=1, unknown=unknown))
        torch.manual_seed(0)
        encoder = build_encoder(MODEL, torch.ones(tokenizer.vocabulary_size), dropout=FINETUNING.dropout)
        classifier = build_classifier(MODEL, encoder, len(CLASSES))
        with torch.no_grad():
            # A head whose ReLUs are all off, or whose softmax is saturated, would hide what the encoder read.
            classifier.head[0].weight.mul_(3)
            classifier.head[0].bias.fill_(1)
            classifier.head[2].bias.zero_()
        card = {
            "format": FORMAT,
            "kind": "classifier",
            "settings": {"model": vars(MODEL), "finetuning": vars(FINETUNING)},
            "classes": list(CLASSES),
            "tokenizer": tokenizer.to_json(),
            "tokenizer_fingerprint": "t",
            "vocabulary_size": tokenizer.vocabulary_size,
        }
        return LoadedClassifier(classifier.eval(), CLASSES, tokenizer.to_json(), card)

    return make


@pytest.fixture
def loaded(make_loaded: Callable[..., LoadedClassifier]) -> LoadedClassifier:
    return make_loaded()


@pytest.fixture
def alone(loaded: LoadedClassifier) -> Callable[[str], list[float]]:
    """Probabilities of one text, computed by itself."""

    def classify(text: str) -> list[float]:
        (tokens,) = TextTokenizer.from_json(loaded.tokenizer_json).encode([text])
        with torch.no_grad():
            logits = loaded.classifier(torch.from_numpy(tokens)[None], torch.tensor([len(tokens)]))
        probabilities: list[float] = logits.double().softmax(1)[0].tolist()
        return probabilities

    return classify


@pytest.fixture
def make_split(loaded: LoadedClassifier) -> Callable[[list[str], list[int]], Split]:
    def make(texts: list[str], labels: list[int]) -> Split:
        documents = TextTokenizer.from_json(loaded.tokenizer_json).documents(texts)
        return Split(documents.tokens.astype(np.uint16), documents.offsets, np.array(labels, np.int64))

    return make
