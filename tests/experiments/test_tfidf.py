import numpy as np
import pytest

from textadv.corpus.batching import DocumentBatches, Documents
from textadv.corpus.store import Split
from textadv.errors import InputError
from textadv.experiments import tfidf
from textadv.experiments.measure import quality

EOS = 2


def split(documents: list[list[int]], labels: list[int]) -> Split:
    tokens = np.array([token for document in documents for token in [*document, EOS]], np.uint16)
    offsets = np.cumsum([0, *(len(document) + 1 for document in documents)])
    return Split(tokens, offsets, np.array(labels))


def test_without_the_library_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfidf, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"contender tfidf: the package scikit-learn is missing; .*\[experiments\]"):
        tfidf.require_library()


def test_words_and_pairs_decide() -> None:
    pytest.importorskip("sklearn")
    tfidf.require_library()
    # Word 3 belongs to class 0, word 4 to class 1; of the words 5 and 6 the order decides.
    train = split([[3, 9], [4, 9], [9, 3, 8], [8, 4], [5, 6], [6, 5], [9, 5, 6], [6, 5, 8]], [0, 1] * 4)
    test = split([[3], [4, 8, 9, 8], [7, 5, 6], [7, 6, 5], [9]], [0, 1, 0, 1, -1])
    predict = tfidf.tfidf_predictor(DocumentBatches(Documents(train), np.arange(8), 3, seed=0))
    found = quality(predict, test, "testing")
    assert found is not None
    assert (found["error"], found["macro_f1"]) == (0.0, 1.0)  # one has no label
    few = tfidf.tfidf_predictor(DocumentBatches(Documents(train), np.array([0, 1]), 3, seed=0))
    unknown = split([[7, 5, 6]], [0])
    np.testing.assert_allclose(few(unknown, "testing"), [[0.5, 0.5]], atol=1e-6)  # it has not read the other documents
