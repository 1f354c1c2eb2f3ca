import itertools
import json

import numpy as np
import pytest
import torch

from textadv.checkpoints import CARD, write_checkpoint
from textadv.errors import InputError
from textadv.evaluation import evaluate, predictor
from textadv.evaluation.predictor import Prediction, Predictor

TEXTS = ["two", "one two three four five six seven many words", "a film", "with plot and many words", "six five four"]


def values(prediction):
    return list(prediction.probabilities.values())


def test_predictions_come_in_the_order_of_the_texts(loaded, alone, monkeypatch):
    monkeypatch.setattr(predictor, "CHUNK_TEXTS", 3)
    monkeypatch.setattr(evaluate, "EVALUATION_TOKENS", 8)
    predictions = list(Predictor(loaded).predict(TEXTS))
    assert len(predictions) == len(TEXTS)
    for text, prediction in zip(TEXTS, predictions, strict=True):
        assert values(prediction) == pytest.approx(alone(text), abs=1e-6)
        assert tuple(prediction.probabilities) == loaded.classes
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)
        assert not prediction.truncated
    assert len({round(values(prediction)[0], 4) for prediction in predictions}) == len(TEXTS)


@pytest.mark.parametrize("temperature", [0.01, 0.3, 5.0, 100.0])
def test_a_temperature_leaves_the_label_and_never_contradicts_the_probabilities(loaded, temperature):
    plain = list(Predictor(loaded).predict(TEXTS))
    scaled = list(Predictor(loaded._replace(card=loaded.card | {"temperature": temperature})).predict(TEXTS))
    for before, after in zip(plain, scaled, strict=True):
        expected = np.array(values(before)) ** (1 / temperature)
        assert values(after) == pytest.approx(expected / expected.sum(), rel=1e-6)
        assert before.label == after.label == max(after.probabilities, key=after.probabilities.get)
        assert json.loads(after.to_json())["probabilities"] == after.probabilities


def test_an_endless_stream_is_read_chunk_by_chunk(loaded, monkeypatch):
    monkeypatch.setattr(predictor, "CHUNK_TEXTS", 10)
    taken = itertools.count()
    predictions = Predictor(loaded).predict("two" for _ in taken)
    assert len(list(itertools.islice(predictions, 25))) == 25
    assert next(taken) == 30


def test_long_texts_make_short_chunks(monkeypatch):
    monkeypatch.setattr(predictor, "CHUNK_CHARACTERS", 6)
    texts = ["aaaaaaaaa", "aa", "aaaaa", "", "aa"]
    assert list(predictor._chunks(texts)) == [["aaaaaaaaa"], ["aa", "aaaaa"], ["", "aa"]]


def test_nothing_in_nothing_out(loaded):
    assert list(Predictor(loaded).predict([])) == []


def test_a_text_without_words_is_a_bare_eos(loaded, alone):
    empty, blank, mixed = Predictor(loaded).predict(["", " \n...", "two"])
    bare = loaded.classifier(torch.tensor([[2]]), torch.tensor([1])).double().softmax(1)[0].tolist()
    assert values(empty) == pytest.approx(bare, abs=1e-6)
    assert values(blank) == pytest.approx(bare, abs=1e-6)
    assert values(mixed) != pytest.approx(bare, abs=1e-3)


def test_unknown_words_are_a_bare_eos_where_the_tokenizer_drops_them(make_loaded):
    empty, unknown = Predictor(make_loaded("drop")).predict(["", "never seen"])
    assert values(unknown) == pytest.approx(values(empty), abs=1e-6)
    empty, unknown = Predictor(make_loaded("replace")).predict(["", "never seen"])
    assert values(unknown) != pytest.approx(values(empty), abs=1e-3)


def test_text_that_utf_8_cannot_spell_is_classified(loaded):
    (prediction,) = Predictor(loaded).predict(["two \ud800"])
    assert sum(values(prediction)) == pytest.approx(1)


def test_of_a_text_over_the_limit_the_end_is_read(loaded, alone, monkeypatch):
    monkeypatch.setattr(predictor, "MAX_TOKENS", 5)
    longer, full = Predictor(loaded).predict(["a one two three four", "one two three four"])
    assert longer.truncated
    assert not full.truncated
    assert values(longer) == pytest.approx(alone("one two three four"), abs=1e-6)


def test_one_string_is_no_list_of_texts(loaded):
    with pytest.raises(TypeError, match="list"):
        next(Predictor(loaded).predict("a film"))


def test_a_prediction_is_one_line_of_json():
    line = Prediction("line\nbreak", {"line\nbreak": 0.75, "ünïcode": 0.25}, False).to_json()
    assert "\n" not in line
    expected = {"label": "line\nbreak", "probabilities": {"line\nbreak": 0.75, "ünïcode": 0.25}, "truncated": False}
    assert json.loads(line) == expected
    assert list(json.loads(line)) == ["label", "probabilities", "truncated"]


def test_a_checkpoint_is_all_it_takes(loaded, tmp_path):
    weights = {f"model.{name}": value for name, value in loaded.classifier.state_dict().items()}
    write_checkpoint(tmp_path / "best.ckpt", {CARD: loaded.card, "global_step": 3, "state_dict": weights})
    expected = list(Predictor(loaded).predict(TEXTS))
    assert list(Predictor.load(tmp_path).predict(TEXTS)) == expected
    assert list(Predictor.load(str(tmp_path / "best.ckpt")).predict(TEXTS)) == expected


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.ckpt"):
        Predictor.load(tmp_path / "gone.ckpt")
