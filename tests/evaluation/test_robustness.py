from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.store import Split, TokenStore
from textadv.errors import InputError
from textadv.evaluation import masking
from textadv.evaluation.robustness import Robustness, check_source, robustness
from textadv.evaluation.samples import Sample
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import AttackSettings, ModelSettings

TEXTS = ["a film with plot", "one two three four", "many words", "", "words and a film", "five six seven"]
BASIC = [
    "logits repeat",
    "gradients are not zero",
    "attacks reach whole documents",
    "accuracy vanishes at a huge epsilon",
    "many steps are as strong as one",
    "accuracy falls with epsilon",
    "noise is weaker than the gradient",
]


@pytest.fixture
def store(loaded: LoadedClassifier, make_split: Callable[[list[str], list[int]], Split]) -> TokenStore:
    split = make_split(TEXTS, [0] * len(TEXTS))
    documents = np.split(split.tokens.astype(np.int64), split.offsets[1:-1])
    with torch.no_grad():
        labels = [
            int(loaded.classifier(torch.from_numpy(tokens)[None], torch.tensor([len(tokens)])).argmax())
            for tokens in documents
        ]
    labels[2] = (labels[2] + 1) % 3  # one is wrong
    return TokenStore(
        path=Path("store"),
        fingerprint="f",
        tokenizer_fingerprint="t",
        classes=loaded.classes,
        vocabulary_size=16,
        frequencies=np.ones(16),
        tokenizer_json=loaded.tokenizer_json,
        splits={"test": make_split(TEXTS, labels)},
        report={},
    )


def names(result: Robustness) -> list[str]:
    return [check.name for check in result.checks]


def test_a_classifier_is_measured_against_every_attack(loaded: LoadedClassifier, store: TokenStore) -> None:
    attacks = ["noise-l2", "fgsm-l2", "fgsm-linf-least_likely", "interpretable-l2-bad"]
    settings = AttackSettings(attacks=attacks, l2_epsilons=[1e-6, 2.0], linf_epsilons=[1e-6], num_steps=1)
    result = robustness(loaded, store, "test", settings)
    assert (result.documents, result.clean_accuracy) == (6, pytest.approx(5 / 6))
    assert [row.attack for row in result.attacks] == attacks
    assert all(row.accuracy[0] == result.clean_accuracy for row in result.attacks)
    assert all(accuracy <= result.clean_accuracy for row in result.attacks for accuracy in row.accuracy)
    assert result.transfer == []
    assert result.zero_gradients == 0
    assert names(result) == BASIC


def test_a_temperature_does_not_change_attacks(loaded: LoadedClassifier, store: TokenStore) -> None:
    settings = AttackSettings(attacks=["noise-l2", "fgsm-l2", "fgsm-linf-least_likely"], num_steps=1)
    scaled = loaded._replace(card=loaded.card | {"temperature": 0.2})
    assert robustness(scaled, store, "test", settings) == robustness(loaded, store, "test", settings)


def test_examples_of_changed_documents_are_texts(
    loaded: LoadedClassifier, store: TokenStore, alone: Callable[[str], list[float]]
) -> None:
    settings = AttackSettings(attacks=[], num_steps=1, word_budgets=[1.0], minimum_similarity=-1.0)
    words = robustness(loaded, store, "test", settings).words
    assert words is not None
    assert words.exchangeable == pytest.approx(13 / 17)  # all but a, with, and, a
    assert words.examples
    for example in words.examples:
        assert "".join(example.before) == TEXTS[example.document]
        assert sum(a != b for a, b in zip(example.before, example.after, strict=True)) > 0
        assert loaded.classes[int(np.argmax(alone("".join(example.after))))] == example.predicted


def test_a_vocabulary_without_two_words_ends_the_substitution_only(
    loaded: LoadedClassifier, store: TokenStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = AttackSettings(attacks=["fgsm-l2"], num_steps=1)
    whole = robustness(loaded, store, "test", settings)
    capsys.readouterr()
    monkeypatch.setattr("textadv.evaluation.lexicon.STOP_WORDS", frozenset(" ".join(TEXTS).split()) - {"film"})
    result = robustness(loaded, store, "test", settings)
    assert result == replace(whole, words=None)
    assert capsys.readouterr().err.count("no two words to exchange") == 1
    assert "substituted" in whole.table()
    assert "substituted" not in result.table()


def test_zero_gradients_are_counted_on_all_documents(loaded: LoadedClassifier, store: TokenStore) -> None:
    """Not only on the two of the other checks, and on those classified wrongly, too."""
    settings = AttackSettings(attacks=["noise-l2"], num_steps=1, check_documents=2, seed=1)
    checked = Sample.draw(store.splits["test"], 2, settings.seed).rows
    assert 2 not in checked
    original = loaded.classifier.classify

    def dead(x: Tensor, lengths: Tensor) -> Tensor:
        """That of the document of two words, number 2, is zero; its label is wrong."""
        return original(torch.where((lengths == 3)[:, None, None], x.detach(), x), lengths)

    loaded.classifier.classify = dead  # type: ignore[method-assign]
    result = robustness(loaded, store, "test", settings)
    assert result.zero_gradients == pytest.approx(1 / 6)
    (check,) = [check for check in result.checks if check.name == "gradients are not zero"]
    assert not check.passed
    assert "16.7%" in check.detail


def test_gradients_are_never_kept_of_more_than_a_batch(
    loaded: LoadedClassifier, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    original = loaded.classifier.classify

    def measured(x: Tensor, lengths: Tensor) -> Tensor:
        sizes.append(x.shape[0] * x.shape[1])
        return original(x, lengths)

    loaded.classifier.classify = measured  # type: ignore[method-assign]
    monkeypatch.setattr("textadv.evaluation.samples.BATCH_TOKENS", 10)
    robustness(loaded, store, "test", AttackSettings(num_steps=1))
    assert max(sizes) <= 10


@pytest.mark.parametrize(
    ("attacks", "falling", "compared"),
    [
        (["pgd-linf"], 2, 2),
        ([], 2, 2),
        (["noise-linf"], 2, 2),
        (["noise-l2", "fgsm-linf"], 6, 2),
        (["noise-linf", "fgsm-linf", "fgsm-l2-bad"], 6, 6),
    ],
)
def test_no_check_is_left_out(
    loaded: LoadedClassifier,
    store: TokenStore,
    attacks: list[str],
    falling: int,
    compared: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was not measured on all 6 documents is on the 2 of the checks."""
    seen: dict[str, Any] = {}
    for name in ("check_monotony", "check_noise"):
        original = getattr(masking, name)

        def check(curves: Any, name: str = name, original: Any = original) -> masking.Check:
            seen[name] = curves
            return original(curves)  # type: ignore[no-any-return]

        monkeypatch.setattr(masking, name, check)
    settings = AttackSettings(attacks=attacks, num_steps=1, check_documents=2)
    result = robustness(loaded, store, "test", settings)
    assert names(result) == BASIC
    for name, documents in (("check_monotony", falling), ("check_noise", compared)):
        assert seen[name].keys() == (set(attacks) if documents == 6 else {"fgsm-l2", "noise-l2"})


def test_noise_is_no_transferred_attack(loaded: LoadedClassifier, store: TokenStore) -> None:
    for attacks, more in ((["noise-l2"], []), (["noise-l2", "fgsm-l2"], ["transfer is weaker than white-box"])):
        settings = AttackSettings(attacks=attacks, num_steps=1)
        result = robustness(loaded, store, "test", settings, source=loaded)
        assert names(result) == [*BASIC, *more]
        assert result.transfer[1:] == result.attacks[1:]  # found on itself; noise is drawn anew


def test_a_source_must_fit(make_loaded: Callable[..., LoadedClassifier], store: TokenStore) -> None:
    loaded, source = make_loaded(), make_loaded()
    check_source(source, loaded, store, "test")
    other = source._replace(card=source.card | {"tokenizer_fingerprint": "other"})
    with pytest.raises(InputError, match=r"--source-checkpoint: .* different tokenizers"):
        check_source(other, loaded, store, "test")
    with pytest.raises(InputError, match="--source-checkpoint: its classes"):
        check_source(source._replace(classes=("x", "y", "z")), loaded, store, "test")
    model = ModelSettings(embedding_size=7, hidden_size=4)
    wider = build_classifier(model, build_encoder(model, torch.ones(16)), 3)
    with pytest.raises(InputError, match="--source-checkpoint: its embeddings have 7 dimensions, those attacked 5"):
        robustness(loaded, store, "test", AttackSettings(), source._replace(classifier=wider))


def test_documents_are_drawn_and_a_smaller_draw_is_part_of_a_larger(store: TokenStore) -> None:
    split = replace(store.splits["test"], offsets=np.arange(101), labels=np.zeros(100, np.int64))
    small, large = (Sample.draw(split, count, 5).rows.tolist() for count in (10, 50))
    assert set(small) < set(large)
    assert small == sorted(small)
    assert max(small) > 50  # not the first ones
    assert small != Sample.draw(split, 10, 6).rows.tolist()
