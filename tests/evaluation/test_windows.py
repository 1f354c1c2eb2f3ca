"""Documents longer than the window of training: attacks differentiate through all that the classifier reads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from textadv.checkpoints import CARD, LoadedClassifier, load_classifier, write_checkpoint
from textadv.corpus.batching import Batch, Documents
from textadv.corpus.store import Split, TokenStore
from textadv.corpus.tokenization import TextTokenizer
from textadv.evaluation import masking
from textadv.evaluation.attacks import clean_pass, loss_gradient
from textadv.evaluation.lexicon import Lexicon
from textadv.evaluation.report.measure import along_directions, smoothness
from textadv.evaluation.robustness import robustness
from textadv.evaluation.samples import Sample
from textadv.evaluation.substitution import substitute_words
from textadv.models.encoders import positions_before
from textadv.settings import AttackSettings

WINDOW = 20
SIZES = [0.5, 1.0]


@pytest.fixture
def trained(make_loaded: Callable[..., LoadedClassifier], tmp_path: Path) -> LoadedClassifier:
    """A classifier as its training has left it, read from its checkpoint."""
    made = make_loaded()
    tuning = made.card["settings"]["finetuning"] | {"window": WINDOW}
    card = made.card | {"settings": made.card["settings"] | {"finetuning": tuning}}
    weights = {f"model.{name}": value for name, value in made.classifier.state_dict().items()}
    write_checkpoint(tmp_path / "best.ckpt", {"state_dict": weights, "global_step": 1, CARD: card})
    return load_classifier(tmp_path)


@pytest.fixture
def windowed(trained: LoadedClassifier) -> LoadedClassifier:
    """The same with the gradients of training."""
    return trained._replace(classifier=masking.through_window(trained.classifier, WINDOW))


@pytest.fixture
def split(trained: LoadedClassifier, make_split: Callable[[list[str], list[int]], Split]) -> Split:
    """Forty documents of 60 to 100 words with the labels that they are given."""
    rng = np.random.default_rng(0)
    words = ["film", "plot", "many", "words", "one", "two", "three", "four", "five", "six", "seven"]
    texts = [" ".join(rng.choice(words, length)) for length in rng.integers(60, 101, 40)]
    split = make_split(texts, [0] * len(texts))
    batch = Documents(split).batch(np.arange(len(split)))
    with torch.no_grad():
        labels = trained.classifier(batch.tokens, batch.lengths).argmax(1)
    return replace(split, labels=labels.numpy())


@pytest.fixture
def batch(split: Split) -> Batch:
    return Documents(split).batch(np.arange(len(split)))


@pytest.fixture
def store(split: Split, trained: LoadedClassifier) -> TokenStore:
    size = trained.card["vocabulary_size"]
    return TokenStore(
        Path("store"), "f", "t", trained.classes, size, np.ones(size), trained.tokenizer_json, {"test": split}, {}
    )


def test_attacks_reach_every_word(trained: LoadedClassifier, windowed: LoadedClassifier, batch: Batch) -> None:
    words = positions_before(batch.lengths - 1, batch.tokens)
    reached = loss_gradient(clean_pass(trained.classifier, batch), batch.labels).norm(dim=2) > 0
    assert (reached == (words | (batch.tokens == 2))).all()
    within = loss_gradient(clean_pass(windowed.classifier, batch), batch.labels).norm(dim=2) > 0
    assert (within & words).sum() < 0.75 * words.sum()


def test_attacks_through_a_window_are_weaker_and_a_check_says_so(
    trained: LoadedClassifier, windowed: LoadedClassifier, store: TokenStore
) -> None:
    settings = AttackSettings(attacks=["fgsm-l2", "ifgsm-l2"], l2_epsilons=SIZES, check_documents=20)
    whole, part = (robustness(one, store, "test", settings) for one in (trained, windowed))
    assert whole.clean_accuracy == part.clean_accuracy == 1
    for full, short in zip(whole.attacks, part.attacks, strict=True):
        assert all(a < b for a, b in zip(full.accuracy, short.accuracy, strict=True))
    passed = [
        check.passed
        for result in (whole, part)
        for check in result.checks
        if check.name == "attacks reach whole documents"
    ]
    assert passed == [True, False]


def test_a_gradient_that_loses_its_way_in_long_documents_is_seen(
    trained: LoadedClassifier, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    right = {None: 0.5, WINDOW: 0.4}
    monkeypatch.setattr(
        masking, "right_in_batches", lambda _, classifier, *__: [np.array([[right[classifier.encoder.window]]])]
    )
    check = masking.check_whole_documents(trained.classifier, [batch], SIZES, WINDOW, generator)
    assert not check.passed
    assert "40.0% with that of 20 tokens" in check.detail


def test_short_documents_have_no_window(trained: LoadedClassifier) -> None:
    check = masking.check_whole_documents(trained.classifier, [], SIZES, WINDOW, torch.Generator())
    assert check.passed
    assert "none is longer than the 20 tokens" in check.detail


def test_words_before_the_window_are_replaced(trained: LoadedClassifier, batch: Batch) -> None:
    lexicon = Lexicon.of(TextTokenizer.from_json(trained.tokenizer_json), [batch.tokens.numpy().ravel()])
    result = substitute_words(trained.classifier, batch, lexicon, [0.05], -1.0)
    changed = result.tokens[0] != batch.tokens
    width = batch.tokens.shape[1]
    from_both_ends = positions_before(batch.lengths - WINDOW - 1, batch.tokens) & (torch.arange(width) >= WINDOW)
    assert changed[from_both_ends].any()
    assert changed[~from_both_ends].any()


def test_the_report_goes_through_whole_documents(
    trained: LoadedClassifier, windowed: LoadedClassifier, split: Split
) -> None:
    sample = Sample(split, np.arange(20))
    whole, part = (along_directions(one.classifier, sample, 1.0, 0).gradient for one in (trained, windowed))
    assert whole.loss.mean[-1] > part.loss.mean[-1]
    lds = [np.mean(smoothness(one.classifier, sample, [1.0], 0)[0].values) for one in (trained, windowed)]
    assert lds[0] > lds[1]
