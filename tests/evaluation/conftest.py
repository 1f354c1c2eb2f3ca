from collections.abc import Callable

import numpy as np
import pytest
import torch
from untrained import untrained_classifier

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.store import Split
from textadv.corpus.tokenization import TextTokenizer


@pytest.fixture
def make_loaded() -> Callable[..., LoadedClassifier]:
    """A random classifier whose predictions differ from text to text."""
    return untrained_classifier


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
