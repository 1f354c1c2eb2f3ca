from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from textadv.corpus.store import Split, TokenStore
from textadv.errors import InputError
from textadv.evaluation import evaluate
from textadv.evaluation.evaluate import class_probabilities, evaluate_split
from textadv.evaluation.metrics import classification_metrics

# Longer and shorter than the window of 4 tokens, not sorted by length.
TEXTS = [
    "a film",
    "one two three four five six seven many words",
    "",
    "with plot and many words",
    "two",
    "six five four",
]
LABELS = [0, 2, 1, 1, 0, 2]


@pytest.fixture
def split(make_split) -> Split:
    return make_split(TEXTS, LABELS)


@pytest.fixture
def store(split, loaded) -> TokenStore:
    empty = Split(np.zeros(0, np.uint16), np.zeros(1, np.int64), np.zeros(0, np.int64))
    unlabeled = replace(split, labels=np.full(len(split), -1))
    splits = {"train": split, "unlabeled": unlabeled, "validation": split, "test": empty}
    size = loaded.card["vocabulary_size"]
    return TokenStore(Path("store"), "f", "t", loaded.classes, size, np.ones(size), loaded.tokenizer_json, splits, {})


def test_predictions_stand_in_the_order_of_the_split(loaded, split, alone, monkeypatch):
    monkeypatch.setattr(evaluate, "EVALUATION_TOKENS", 12)  # several batches of several documents
    probabilities = class_probabilities(loaded.classifier, split)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, [alone(text) for text in TEXTS], atol=1e-6)
    assert len(np.unique(probabilities.round(4), axis=0)) == len(TEXTS)


def test_documents_are_read_from_their_first_to_their_last_word(loaded, make_split):
    texts = ["one two three four five six seven many words"]
    texts += ["plot" + texts[0].removeprefix("one"), texts[0].removesuffix("words") + "plot"]
    probabilities = class_probabilities(loaded.classifier, make_split(texts, [0, 0, 0]))
    assert np.abs(probabilities[1:] - probabilities[0]).max(axis=1).min() > 1e-5


def test_dropout_is_off_and_nothing_is_recorded_for_gradients(loaded, split):
    expected = class_probabilities(loaded.classifier, split)
    recorded = []
    hook = loaded.classifier.head.register_forward_hook(lambda module, inputs, logits: recorded.append(logits))
    actual = class_probabilities(loaded.classifier.train(), split)
    hook.remove()
    np.testing.assert_array_equal(actual, expected)
    assert all(logits.is_inference() for logits in recorded)
    assert recorded


def test_progress_is_shown(loaded, split, capsys):
    class_probabilities(loaded.classifier, split, description="counting sheep")
    assert "counting sheep: 1 of 1" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_refused(loaded, split):
    with torch.no_grad():
        loaded.classifier.head[0].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        class_probabilities(loaded.classifier, split)


def test_a_split_is_measured(loaded, store, split):
    metrics = evaluate_split(loaded, store, "validation")
    assert metrics == classification_metrics(class_probabilities(loaded.classifier, split), np.array(LABELS))
    assert metrics.count == 6


def test_a_temperature_changes_the_calibration_only(loaded, store):
    before = evaluate_split(loaded, store, "validation")
    scaled = loaded._replace(card=loaded.card | {"temperature": 0.05})
    after = evaluate_split(scaled, store, "validation")
    assert (after.temperature, after.calibration_error_before) == (0.05, before.expected_calibration_error)
    assert after.expected_calibration_error != before.expected_calibration_error
    for name in ("error", "accuracy", "macro_f1", "confusion_matrix", "count"):
        assert getattr(after, name) == getattr(before, name)


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({"tokenizer_fingerprint": "other"}, "train", "different tokenizers"),
        ({"classes": ("bad", "good", "fine")}, "train", "classes are bad, fine, good, but .* are bad, good, fine"),
        ({}, "dev", "--split dev: no such split; there are train, unlabeled, validation, test"),
        ({}, "test", "--split test: .*no documents"),
        ({}, "unlabeled", "--split unlabeled: .*no labels"),
    ],
)
def test_what_does_not_belong_together_is_refused(loaded, store, changes, name, message):
    with pytest.raises(InputError, match=message) as caught:
        evaluate_split(loaded, replace(store, **changes), name)
    assert "\n" not in str(caught.value)
