"""The interface of TextAttack's `ModelWrapper`, without TextAttack."""

import inspect
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch

from textadv import TextAttackModel
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.store import Split
from textadv.errors import ArgumentError
from textadv.evaluation.predictor import Predictor, TextPredictor

TEXTS = ["two", "one two three four five six seven many words", "a film"]
# What TextAttack 0.3.11 calls, each with the names of its arguments.
CALLED = {
    "__call__": ["text_input_list"],
    "get_grad": ["text_input"],
    "tokenize": ["inputs", "strip_prefix"],
    "_tokenize": ["inputs"],
}


class WithoutTorch(TextPredictor):
    """Stands in for the predictor of an exported classifier."""

    def probabilities(self, documents: Split) -> np.ndarray:
        return np.full((len(documents), 3), 1 / 3)


@pytest.mark.parametrize("method", CALLED)
def test_the_signatures_are_those_of_textattack(method: str) -> None:
    assert list(inspect.signature(getattr(TextAttackModel, method)).parameters)[1:] == CALLED[method]


def test_textattack_takes_the_rows_for_probabilities(
    loaded: LoadedClassifier, alone: Callable[[str], list[float]]
) -> None:
    """Its goal functions put rows through a softmax whose sum differs from 1 by 1e-6 or more."""
    model = TextAttackModel(Predictor(loaded))
    scores = torch.tensor(model(TEXTS))
    assert scores.dtype == torch.float64
    assert float((scores.sum(dim=1) - 1).abs().max()) < 1e-12
    for row, text in zip(scores.tolist(), TEXTS, strict=True):
        assert row == pytest.approx(alone(text), abs=1e-6)
    assert model([]).shape == (0, 3)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_gradient_is_that_of_the_probability_that_is_shown(loaded: LoadedClassifier, temperature: float) -> None:
    """Finite differences of -log p of the predicted class, in float64."""
    loaded = loaded._replace(card=loaded.card | {"temperature": temperature})
    loaded.classifier.double()
    model = TextAttackModel(Predictor(loaded))
    found = model.get_grad(TEXTS[1])
    ids = torch.tensor([found["ids"]])
    x = loaded.classifier.embed(ids).detach()
    predicted = int(model([TEXTS[1]]).argmax())

    def loss(embeddings: torch.Tensor) -> float:
        with torch.no_grad():
            logits = loaded.classifier.classify(embeddings, torch.tensor([ids.shape[1]]))
        return -float((logits / temperature).log_softmax(dim=1)[0, predicted])

    assert found["gradient"].shape == x.shape[1:]
    assert np.abs(found["gradient"]).max() > 1e-3
    for place in [(0, 0), (4, 2), (9, 4)]:
        step = torch.zeros_like(x)
        step[0][place] = 1e-5
        assert (loss(x + step) - loss(x - step)) / 2e-5 == pytest.approx(found["gradient"][place], rel=1e-4, abs=1e-8)


def test_the_gradient_leaves_the_network_alone(loaded: LoadedClassifier) -> None:
    model = TextAttackModel(Predictor(loaded))
    model.get_grad("a film")
    assert all(parameter.grad is None for parameter in loaded.classifier.parameters())
    assert not loaded.classifier.training


def test_there_is_a_token_for_each_row_of_the_gradient(loaded: LoadedClassifier) -> None:
    model = TextAttackModel(Predictor(loaded))
    text = "a film with unheard words"
    (tokens,) = model.tokenize([text], strip_prefix=True)
    assert tokens == ["a", "film", "with", "<unk>", "words", "<eos>"]
    assert len(model.get_grad(text)["gradient"]) == len(model.get_grad(text)["ids"]) == len(tokens)


def test_what_textattack_reads_of_a_model(loaded: LoadedClassifier) -> None:
    model = TextAttackModel(Predictor(loaded))
    assert model.model is loaded.classifier
    assert model.tokenizer.vocabulary_size == loaded.card["vocabulary_size"]
    copy = pickle.loads(pickle.dumps(model))  # its attacks in parallel send it to other processes
    np.testing.assert_array_equal(copy(TEXTS), model(TEXTS))


def test_an_exported_classifier_has_no_gradient(loaded: LoadedClassifier) -> None:
    predictor = WithoutTorch(loaded.classes, loaded.tokenizer_json)
    model = TextAttackModel(predictor)
    assert model.model is predictor
    assert model(TEXTS).shape == (3, 3)
    with pytest.raises(ArgumentError, match="get_grad: an exported classifier has no gradient"):
        model.get_grad("a film")


@pytest.mark.parametrize("texts", ["a film", [("a premise", "a hypothesis")], None])
def test_what_is_no_list_of_texts_is_refused(loaded: LoadedClassifier, texts: object) -> None:
    with pytest.raises(ArgumentError, match="text_input_list"):
        TextAttackModel(Predictor(loaded))(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [5, ["a film"], ("a premise", "a hypothesis")])
def test_there_is_a_gradient_of_one_text_only(loaded: LoadedClassifier, text: object) -> None:
    with pytest.raises(ArgumentError, match="text_input"):
        TextAttackModel(Predictor(loaded)).get_grad(text)  # type: ignore[arg-type]


def test_what_is_no_predictor_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^predictor 'runs/mine': must be a Predictor; textadv\.Predictor\.load"):
        TextAttackModel("runs/mine")  # type: ignore[arg-type]
