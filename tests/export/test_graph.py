"""The graph of every kind of encoder, beside torch."""

import runpy
from collections import Counter
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from untrained import random_weights

from textadv.export import graph
from textadv.export.graph import LARGEST_DIFFERENCE, Parity, parity, quantized, to_onnx
from textadv.export.session import new_session, run
from textadv.models.classifier import Classifier
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import ModelSettings

onnx = pytest.importorskip("onnx", reason="the extra textadv[export] is not installed")
VOCABULARY = 40
EXAMPLE = Path(__file__).parents[2] / "examples" / "own_encoder.py"
# Name -> encoder, both directions, pooling. Each encoder with each pooling, and in one direction and in two.
RECURRENT = {
    "lstm": ("lstm", False, "last"),
    "lstm, mean": ("lstm", False, "mean"),
    "lstm, both directions": ("lstm", True, "last_mean_max"),
    "gru": ("gru", False, "last_mean_max"),
    "gru, last": ("gru", True, "last"),
    "gru, mean": ("gru", True, "mean"),
}
IN_WINDOWS = "bert, in windows"  # of 40 tokens
TRANSFORMERS = (
    "bert",
    "distilbert",
    "roberta",
    "electra",
    "deberta-v2",
    "modernbert",
    "xlm-roberta",
    "mpnet",
    "albert",
    IN_WINDOWS,
)
OWN = "own"  # the encoder of `examples/own_encoder.py`
OPERATION = {"lstm": "LSTM", "gru": "GRU"}


@cache
def classifier_of(name: str) -> Classifier:
    if name in TRANSFORMERS:
        pytest.importorskip("transformers", reason="the extra textadv[transformers] is not installed")
        import tiny_transformers

        from textadv.models.transformer import TransformerEncoder

        special = [tiny_transformers.PAD, tiny_transformers.CLS, tiny_transformers.SEP]
        body, in_windows = tiny_transformers.tiny(name.partition(", ")[0]), name == IN_WINDOWS
        encoder = TransformerEncoder(body, torch.ones(VOCABULARY), special, in_windows=in_windows)
        return Classifier(encoder, 3, 8).eval()
    if name == OWN:
        sizes, make = ModelSettings(embedding_size=5, hidden_size=6), runpy.run_path(str(EXAMPLE))["Convolutions"]
        return random_weights(Classifier(make(sizes, torch.arange(1.0, VOCABULARY + 1), 0.0), 3, 8))
    kind, bidirectional, pooling = RECURRENT[name]
    sizes = ModelSettings(kind, embedding_size=5, hidden_size=6, bidirectional=bidirectional, pooling=pooling)
    frequencies = torch.arange(1.0, VOCABULARY + 1)
    return random_weights(build_classifier(sizes, build_encoder(sizes, frequencies), 3))


@cache
def model_of(name: str) -> bytes:
    """Made once for all tests."""
    return to_onnx(classifier_of(name))


def operations(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_model_from_string(model).graph.node)


@pytest.fixture(autouse=True)
def short_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of `export` take seconds."""
    monkeypatch.setattr(graph, "LONGEST", 1000)


@pytest.fixture(params=[*RECURRENT, OWN, "bert"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    "name", [*RECURRENT, OWN, "bert", *(pytest.param(one, marks=pytest.mark.slow) for one in TRANSFORMERS[1:])]
)
def test_the_logits_are_those_of_torch(name: str) -> None:
    """Over single tokens, equal and different lengths, and documents that are longer than any usual one."""
    found = parity(classifier_of(name), model_of(name), VOCABULARY)
    print(
        f"{name}: {found.largest_difference:.1e}, of logits of up to {found.largest_logit:.3g}, which is a share of "
        f"{found.relative_difference:.1e}, over {found.documents} documents of 1 to {found.longest} tokens"
    )
    assert found.relative_difference <= LARGEST_DIFFERENCE
    assert found.largest_logit > 0.05
    assert found.documents > 100
    assert found.longest == min(1000, getattr(classifier_of(name).encoder, "max_tokens", None) or 1000)


def test_a_document_does_not_depend_on_its_batch(name: str) -> None:
    generator = np.random.default_rng(1)
    tokens, lengths = generator.integers(0, VOCABULARY, (4, 12)), np.array([12, 1, 7, 3])
    session = new_session(model_of(name))
    together = run(session, tokens, lengths)
    for row, length in enumerate(lengths):
        alone = run(session, tokens[row : row + 1, :length], lengths[row : row + 1])
        np.testing.assert_allclose(together[row : row + 1], alone, atol=1e-6)
    assert np.abs(together[1:] - together[:-1]).max() > 1e-2


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_layer_is_one_operation(name: str) -> None:
    kind, bidirectional, _ = RECURRENT[name]
    found = operations(model_of(name))
    assert found[OPERATION[kind]] == 1 + bidirectional
    assert not {"Loop", "Scan", "If"} & set(found)


def test_embeddings_are_stored_normalized() -> None:
    table = classifier_of("lstm").encoder.word_table().numpy()
    stored = [
        onnx.numpy_helper.to_array(one) for one in onnx.load_model_from_string(model_of("lstm")).graph.initializer
    ]
    assert [np.abs(one - table).max() for one in stored if one.shape == table.shape] == [0.0]


def test_the_graph_says_nothing_about_this_machine(name: str) -> None:
    for folder in (Path.cwd(), Path(torch.__file__).parents[1]):
        assert str(folder).encode() not in model_of(name)


def test_two_exports_are_equal() -> None:
    assert to_onnx(classifier_of("gru")) == model_of("gru")


def test_exporting_changes_nothing_in_the_classifier() -> None:
    classifier = classifier_of("gru")
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    to_onnx(classifier)
    assert before.keys() == classifier.state_dict().keys()
    assert all(torch.equal(value, classifier.state_dict()[key]) for key, value in before.items())


def test_another_graph_is_noticed() -> None:
    """`parity` finds weights that differ, and a layer that reads on behind the end of a document."""
    other = classifier_of("lstm, mean")
    with torch.no_grad():
        changed = to_onnx(other)
        other.head[2].bias.add_(1e-3)
        assert 5e-4 < parity(other, changed, VOCABULARY).largest_difference < 2e-3
        other.head[2].bias.sub_(1e-3)
    model = onnx.load_model_from_string(model_of("lstm, mean"))
    comparison = next(node for node in model.graph.node if node.op_type == "GreaterOrEqual")
    comparison.op_type = "Less"
    assert parity(other, model.SerializeToString(), VOCABULARY).largest_difference > 1e-2


def test_large_logits_have_a_share_of_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch itself is further from float64 than what small logits may differ by, and a wrong graph is noticed still."""
    monkeypatch.setattr(graph, "LONGEST", 200)
    sizes = ModelSettings("gru", embedding_size=32, hidden_size=64, bidirectional=True, pooling="last_mean_max")
    frequencies = torch.arange(1.0, VOCABULARY + 1)
    classifier = random_weights(build_classifier(sizes, build_encoder(sizes, frequencies), 3))
    tokens, lengths = torch.arange(VOCABULARY).repeat(1, 5), torch.tensor([5 * VOCABULARY])
    with torch.no_grad():
        classifier.head[2].weight.mul_(10)  # how much torch is off differs among machines, by less than that
        exact = deepcopy(classifier).double()(tokens, lengths)
        assert float((classifier(tokens, lengths) - exact).abs().max()) > LARGEST_DIFFERENCE
    model = to_onnx(classifier)
    found = parity(classifier, model, VOCABULARY)
    assert found.largest_difference > LARGEST_DIFFERENCE
    assert found.relative_difference < LARGEST_DIFFERENCE / 5
    with torch.no_grad():
        classifier.head[2].bias.add_(2 * LARGEST_DIFFERENCE * found.largest_logit)
    assert parity(classifier, model, VOCABULARY).relative_difference > LARGEST_DIFFERENCE


@pytest.mark.parametrize("largest", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_never_equal(largest: float) -> None:
    assert not Parity(float("nan"), largest, 1, 1).relative_difference <= LARGEST_DIFFERENCE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lstm, both directions", {"DynamicQuantizeLSTM": 2, "MatMulInteger": 2, "LSTM": 0}),
        ("gru", {"GRU": 1, "MatMulInteger": 2}),  # onnxruntime has no GRU of 8 bits
    ],
)
def test_int8_rounds_what_onnxruntime_can_round(name: str, expected: dict[str, int]) -> None:
    model = quantized(model_of(name))
    found = operations(model)
    assert {operation: found[operation] for operation in expected} == expected
    assert 1e-4 < parity(classifier_of(name), model, VOCABULARY).largest_difference < 1
