"""Apple's MPS has no float64: attacks and report move to the CPU first. MPS is simulated, see `test_mps`."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_mps import MakesThere, on_mps
from torch import Tensor

from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Documents
from textadv.corpus.store import Split
from textadv.corpus.tokenization import TextTokenizer
from textadv.evaluation.lexicon import Lexicon
from textadv.evaluation.report.examples import word_examples
from textadv.evaluation.report.measure import along_directions, smoothness
from textadv.evaluation.samples import Sample
from textadv.evaluation.substitution import substitute_words

TEXTS = ["a film with plot", "one two three four five six seven", "many words"]


@pytest.fixture
def sample(make_split: Callable[[list[str], list[int]], Split]) -> Sample:
    return Sample(make_split(TEXTS, [0, 1, 2]), np.arange(3))


@pytest.fixture
def there(loaded: LoadedClassifier, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedClassifier]:
    """A classifier on MPS."""
    classifier = loaded.classifier

    def here(x: Tensor) -> Tensor:
        return x.as_subclass(Tensor)

    class Moved:
        encoder = SimpleNamespace(
            seed=0,
            word_table=lambda: on_mps(classifier.encoder.word_table()),
            is_special=on_mps(classifier.encoder.is_special),
            perturbation_mask=lambda tokens, lengths: on_mps(
                classifier.encoder.perturbation_mask(here(tokens), lengths)
            ),
        )

        def embed(self, tokens: Tensor) -> Tensor:
            return on_mps(classifier.embed(here(tokens)))

        def classify(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
            return on_mps(classifier.classify(here(embeddings), lengths))

        def __call__(self, tokens: Tensor, lengths: Tensor) -> Tensor:
            return on_mps(classifier(here(tokens), lengths))

    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device: generator())
    with MakesThere():
        yield loaded._replace(classifier=Moved())  # type: ignore[arg-type]


@pytest.mark.parametrize(("measure", "sizes"), [(along_directions, 0.5), (smoothness, [0.1, 1.0])])
def test_the_report_measures_on_mps_what_it_does_on_the_cpu(
    loaded: LoadedClassifier, there: LoadedClassifier, sample: Sample, measure: Any, sizes: Any
) -> None:
    expected = measure(loaded.classifier, sample, sizes, 0)
    assert measure(there.classifier, sample, sizes, 0, "mps") == expected


def test_examples_of_words_on_mps_are_those_on_the_cpu(
    loaded: LoadedClassifier, there: LoadedClassifier, sample: Sample
) -> None:
    assert word_examples(there, sample, 0.5, "mps") == word_examples(loaded, sample, 0.5)


def test_words_are_replaced_on_mps_as_on_the_cpu(
    loaded: LoadedClassifier, there: LoadedClassifier, sample: Sample
) -> None:
    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    found = []
    for one, device in ((loaded, "cpu"), (there, "mps")):
        lexicon = Lexicon.of(tokenizer, [sample.split.tokens], device)
        batch = Documents(sample.split).batch(sample.rows).to(device)
        found.append(substitute_words(one.classifier, batch, lexicon, [0.25, 0.5], -1.0))
    assert found[0].tokens.tolist() == found[1].tokens.tolist()
    assert found[0].fooled.tolist() == found[1].fooled.tolist()
