"""What the page shows of a text, beside what torch, the predictor and the tokenizer say by themselves."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from untrained import CLASSES, untrained_classifier

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.tokenization import TextTokenizer
from textadv.demo import explain
from textadv.demo.explain import Change, Explainer, as_typed, in_text, strongest
from textadv.errors import InputError
from textadv.evaluation.predictor import Prediction, Predictor
from textadv.models.classifier import Classifier
from textadv.settings import FinetuningSettings

TEXT = "A film with plot, and many words!"
EPSILON = 2.0
KINDS = {
    "lstm": {},
    "gru": {"encoder": "gru"},
    "dropped": {"unknown": "drop"},
    "bpe": {"kind": "bpe"},
}


def transformer(folder: Path) -> LoadedClassifier:
    pytest.importorskip("transformers", reason="the extra textadv[transformers] is not installed")
    from tiny_transformers import LIMIT, tiny, write_tokenizer

    from textadv.corpus.pretrained_tokenizer import read_tokenizer
    from textadv.models.transformer import TransformerEncoder

    write_tokenizer(folder)
    tokenizer = read_tokenizer(folder, LIMIT, "head")
    torch.manual_seed(0)
    encoder = TransformerEncoder(tiny("bert"), torch.ones(tokenizer.vocabulary_size), tokenizer.special_tokens)
    classifier = Classifier(encoder, len(CLASSES), 8).eval()
    return LoadedClassifier(classifier, CLASSES, tokenizer.to_json(), {})


@pytest.fixture(params=[*KINDS, "transformer"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedClassifier:
    return transformer(tmp_path) if request.param == "transformer" else untrained_classifier(**KINDS[request.param])


def values(prediction: Prediction) -> list[float]:
    return list(prediction.probabilities.values())


def test_every_encoder_is_explained(loaded: LoadedClassifier) -> None:
    """By gradients of this test's own, and by the predictor."""
    text = "the film was good and the plot was dull"  # in part unknown to all tokenizers but BPE
    found = Explainer(loaded, EPSILON).explain(text)
    assert found.predictions[0] == next(Predictor(loaded).predict([text]))
    assert (found.epsilons[0], found.epsilons[-1]) == (0.0, explain.FARTHEST * EPSILON)
    assert len(found.epsilons) == len(found.predictions) == explain.NUM_SIZES + 1

    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    (ids,) = tokenizer.encode([text])
    tokens, lengths = torch.from_numpy(ids)[None], torch.tensor([len(ids)])
    x = loaded.classifier.embed(tokens).detach().requires_grad_()
    label = CLASSES.index(found.predictions[0].label)
    (-loaded.classifier.classify(x, lengths).log_softmax(1)[0, label]).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    r = x.grad * loaded.classifier.encoder.perturbation_mask(tokens, lengths)[:, :, None]
    r = r / r.norm()
    for epsilon, prediction in zip(found.epsilons, found.predictions, strict=True):
        with torch.no_grad():
            expected = loaded.classifier.classify(x + epsilon * r, lengths).softmax(1)[0]
        assert values(prediction) == pytest.approx(expected.tolist(), abs=1e-5)
        assert prediction.label == CLASSES[int(np.argmax(values(prediction)))]
    shares = r[0].norm(dim=1).square()[len(tokenizer.prefix) : len(ids) - len(tokenizer.suffix)]
    assert [word.share for word in found.words] == pytest.approx(shares.tolist(), abs=1e-5)
    assert sum(word.share for word in found.words) == pytest.approx(1, abs=1e-5)
    assert max(found.words, key=lambda word: word.share).shade == max(word.shade for word in found.words) == 5
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["epsilons"] == found.epsilons


def test_a_small_perturbation_makes_the_class_less_sure(loaded: LoadedClassifier) -> None:
    found = Explainer(loaded, 0.05).explain("the film was good and the plot was dull")
    label = found.predictions[0].label
    before, after = (prediction.probabilities[label] for prediction in found.predictions[:2])
    assert after < before


def test_the_change_is_a_text_that_is_predicted_so(loaded: LoadedClassifier) -> None:
    text = "Film plot words one cast"
    found = Explainer(loaded, EPSILON).explain(text)
    first, change = found.predictions[0], found.change
    assert change is not None
    assert "".join(change.before) in (text, "plot words one")  # the second where unknown words are dropped
    assert 1 <= sum(old != new for old, new in zip(change.before, change.after, strict=True)) <= explain.MOST_REPLACED
    expected = next(Predictor(loaded).predict(["".join(change.after)]))
    assert values(change.prediction) == pytest.approx(values(expected), abs=1e-6)
    assert change.prediction.probabilities[first.label] < first.probabilities[first.label]


def test_a_change_replaces_as_few_words_as_change_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = Explainer(untrained_classifier(), EPSILON)
    found = explainer.explain(TEXT)
    label, change = found.predictions[0].label, found.change
    assert change is not None
    assert change.prediction.label != label
    count = sum(old != new for old, new in zip(change.before, change.after, strict=True))
    assert count > 1
    monkeypatch.setattr(explain, "MOST_REPLACED", count - 1)
    change = explainer.explain(TEXT).change
    assert change is not None
    assert change.prediction.label == label


def test_a_lost_label_counts_for_more_than_an_improbable_one() -> None:
    def change(label: str, fine: float) -> Change:
        return Change(Prediction(label, {"bad": 0.0, "fine": fine, "good": 1 - fine}, False), [], [])

    kept, less, lost, more = change("fine", 0.6), change("fine", 0.4), change("good", 0.45), change("good", 0.3)
    assert strongest([kept, less], "fine") is less
    assert strongest([kept, less, lost], "fine") is lost
    assert strongest([lost, more, kept], "fine") is more


def test_without_two_words_to_exchange_none_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain.Lexicon, "has_choice", False)
    assert Explainer(untrained_classifier(), EPSILON).explain(TEXT).change is None


def test_sizes_where_training_had_none() -> None:
    assert Explainer(untrained_classifier(), 0.0).epsilons[-1] == explain.FARTHEST * FinetuningSettings().epsilon


def test_a_text_that_utf_8_cannot_spell_is_explained() -> None:
    found = Explainer(untrained_classifier(), EPSILON).explain("two \ud800 film")
    assert [word.text for word in found.words] == ["two", " ? film"]


def test_a_temperature_calibrates_everything() -> None:
    plain = untrained_classifier()
    warm = plain._replace(card=plain.card | {"temperature": 3.0})
    found, calibrated = (Explainer(one, EPSILON).explain(TEXT) for one in (plain, warm))
    assert found.words == calibrated.words
    for before, after in zip(found.predictions, calibrated.predictions, strict=True):
        expected = np.array(values(before)) ** (1 / 3)
        assert values(after) == pytest.approx(expected / expected.sum(), rel=1e-4)


def test_words_are_shown_as_they_were_typed() -> None:
    found = Explainer(untrained_classifier(), EPSILON).explain("zorp film,  two!")
    assert [word.text for word in found.words] == ["zorp", " film,", "  two!"]
    assert [word.known for word in found.words] == [False, True, True]
    found = Explainer(untrained_classifier("drop"), EPSILON).explain("zorp film,  two!")
    assert [word.text for word in found.words] == [" film", " two"]  # the others are not read
    assert [word.known for word in found.words] == [True, True]


def test_a_text_that_is_cut_is_said_to_be(tmp_path: Path) -> None:
    found = Explainer(transformer(tmp_path), EPSILON).explain("the film was good " * 9)
    assert all(prediction.truncated for prediction in found.predictions)
    assert len(found.words) == 10  # LIMIT less the special tokens


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no text yet"),
        (" \n\t", "there is no text yet"),
        ("zorp blarg", "knows none of the words"),
        ("...", "knows none of the words"),
        ("two " * 2000, "is too long: it has 2,001 tokens, and 2,000 are read here"),
    ],
)
@pytest.mark.parametrize("unknown", ["replace", "drop"])
def test_what_cannot_be_explained(unknown: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Explainer(untrained_classifier(unknown), EPSILON).explain(text)
    assert "\n" not in str(error.value)


def test_the_longest_text_is_perturbed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = Explainer(untrained_classifier(), EPSILON)
    whole = explainer.explain(TEXT)
    monkeypatch.setattr(explain, "BATCH_TOKENS", 25)  # three sizes at a time
    parts = explainer.explain(TEXT)
    for one, other in zip(parts.predictions, whole.predictions, strict=True):
        assert values(one) == pytest.approx(values(other), abs=1e-6)


def test_words_that_are_no_token_by_themselves_are_not_taken_for_it() -> None:
    assert as_typed("Good, film", [" good", " film"], [True, True]) == ["Good,", " film"]
    assert as_typed("Good, zorp", [" good", " <unk>"], [True, False]) == ["Good,", " zorp"]
    assert as_typed("Good film", [" go", "od"], [True, True]) == [" go", "od"]
    assert as_typed("Good film", [" good", " fi", "lm"], [True, True, True]) == [" good", " fi", "lm"]


def test_a_change_keeps_what_was_typed_around_it() -> None:
    before, after = in_text("(Good) film; zorp", ["good", " film", " unk"], ["fine", " film", " unk"])
    assert "".join(before) == "(Good) film; zorp"
    assert "".join(after) == "(fine) film; zorp"
    read = ["good", " film"], ["fine", " film"]
    assert in_text("good zorp film", *read) == read  # of which one word was not read
