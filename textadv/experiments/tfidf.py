"""TF-IDF and logistic regression (scikit-learn): what a user would try first, on the tokens that the others read."""

from collections.abc import Iterable
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.batching import DocumentBatches
from textadv.corpus.store import Split
from textadv.errors import missing_package
from textadv.experiments.measure import Predictor

INVERSE_PENALTY = 10.0  # fixed, so that no label is needed to choose it
MOST_ITERATIONS = 1000


def require_library() -> None:
    """Refuse to go on without scikit-learn.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("sklearn") is None:
        raise missing_package("contender tfidf", "scikit-learn", "experiments")


def tfidf_predictor(labeled: DocumentBatches) -> Predictor:
    """Fit on labeled documents, in which single words and pairs of neighbours are counted.

    Args:
        labeled: The documents; their batches are not read.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = labeled.indices.tolist()
    model = make_pipeline(
        TfidfVectorizer(analyzer=_terms, sublinear_tf=True),
        LogisticRegression(C=INVERSE_PENALTY, max_iter=MOST_ITERATIONS),
    )
    model.fit([labeled.documents.document(row) for row in rows], labeled.documents.labels[rows])

    def predict(split: Split, description: str) -> NDArray[np.float64]:
        documents = [split.document(row) for row in range(len(split))]
        probabilities: NDArray[np.float64] = model.predict_proba(documents)  # every class has a labeled document
        return probabilities

    return predict


def _terms(document: Iterable[int]) -> list[str]:
    """Words and pairs of neighbours, without the end of the document."""
    words = [str(token) for token in document][:-1]
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]
