"""What scikit-learn and cleanlab do with the estimator; slow, as each check trains several times."""

import warnings
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pytest
from command_line import BAD, GOOD, sentence
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data
from tiny_classifier import LABELS, RAW, TEXTS, TINY

import textadv

ENOUGH = {"steps": 60, "learning_rate": 0.05, "learning_rate_decay": 1.0, "ema_decay": 0.0, "pooling": "last"}
TRAINED = TINY | ENOUGH | {"batch_size": 8, "unlabeled_batch_size": 8}


class OnNumbers(textadv.TextClassifier):
    """The estimator on scikit-learn's tables of numbers, which it reads as texts: a word for each rounded number."""

    def fit(self, X: Any, y: Any) -> Self:  # type: ignore[override]  # noqa: N803
        return super().fit(_texts(validate_data(self, X, dtype=np.float64)), y)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        self._require_fitted()
        return super().predict_proba(_texts(validate_data(self, X, dtype=np.float64, reset=False)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = False
        tags.input_tags.two_d_array = True
        tags.classifier_tags.poor_score = True  # rounded numbers are no language
        return tags


def _texts(table: NDArray[np.float64]) -> list[str]:
    names = np.char.add("n", np.floor(16 * table).astype(np.int64).astype(str))
    words = np.char.replace(names, "n-", "m")
    return [" ".join(f"{word}c{column}" for column, word in enumerate(row)) for row in words.tolist()]


@pytest.fixture(autouse=True)
def _machine_and_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("textadv.system.machine.prepare_machine", lambda: None)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@parametrize_with_checks([OnNumbers(**TINY | {"pretrained": "none", "method": "adversarial"})])
def test_an_estimator_check(estimator: OnNumbers, check: Callable[[OnNumbers], None]) -> None:
    check(estimator)


def test_tools_are_told_that_it_reads_texts() -> None:
    from sklearn.utils import get_tags

    tags = get_tags(textadv.TextClassifier())
    assert tags.estimator_type == "classifier"
    assert (tags.input_tags.string, tags.input_tags.two_d_array) == (True, False)


def test_a_clone_has_the_same_parameters() -> None:
    classifier = textadv.TextClassifier(epsilon=1.0, encoder="gru")
    assert clone(classifier).get_params() == classifier.get_params()
    assert repr(classifier) == "TextClassifier(encoder='gru', epsilon=1.0)"


@pytest.mark.slow
def test_a_grid_search_over_epsilon() -> None:
    search = GridSearchCV(
        textadv.TextClassifier(**TRAINED), {"epsilon": np.array([0.1, 0.5]), "encoder": ["lstm", "gru"]}, cv=2
    )
    search.fit(TEXTS, LABELS, unlabeled=RAW)
    assert search.cv_results_["mean_test_score"].shape == (4,)
    assert search.best_params_.keys() == {"epsilon", "encoder"}
    assert search.score(TEXTS, LABELS) > 0.9
    assert search.predict(TEXTS[:2]).tolist() == LABELS[:2]


@pytest.mark.slow
def test_cleanlab_finds_flipped_labels() -> None:
    both = [(sentence(i, words), label) for i in range(60) for words, label in ((GOOD, 1), (BAD, 0))]
    texts, labels = np.array([text for text, _ in both]), np.array([label for _, label in both])
    flipped = np.arange(5, 120, 17)
    labels[flipped] = 1 - labels[flipped]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cleanlab's own
        from cleanlab.classification import CleanLearning

        cleaner = CleanLearning(textadv.TextClassifier(**TRAINED), cv_n_folds=3, seed=0)
        issues = cleaner.find_label_issues(texts, labels, clf_kwargs={"unlabeled": RAW})
    found = set(np.flatnonzero(issues["is_label_issue"]).tolist())
    assert len(found & set(flipped.tolist())) >= 0.8 * len(flipped)
    assert len(found - set(flipped.tolist())) <= 5
