import numpy as np
import pytest
import torch
from torch import Tensor

from textadv.adversarial.divergences import cross_entropy
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch, Documents
from textadv.corpus.tokenization import TextTokenizer
from textadv.evaluation.report import examples
from textadv.evaluation.report.examples import choose_examples, word_examples
from textadv.evaluation.samples import Sample


def test_short_documents_are_chosen_first(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "EXAMPLE_WORDS", 5)
    assert choose_examples(sample, 2).rows.tolist() == [0, 3]  # 4 and 5 words, in the order of the sample
    assert choose_examples(sample, 9).rows.tolist() == [0, 3, 1]  # the one without words never


def test_words_and_how_far_they_move(loaded: LoadedClassifier, sample: Sample) -> None:
    found = word_examples(loaded, choose_examples(sample, 3), 0.5)
    assert ["".join(example.words) for example in found] == [
        " one two three four five six seven",
        " a film with plot",
        " many words and many words",
    ]
    for example in found:
        assert np.linalg.norm(example.sizes) == pytest.approx(0.5, rel=1e-5)
        assert example.predicted in loaded.classes
        assert 1 / 3 <= example.probability <= 1
        assert example.skipped == 0
    assert [example.label for example in found] == ["fine", "bad", "bad"]


def test_the_perturbation_lowers_the_probability_of_the_label(loaded: LoadedClassifier, sample: Sample) -> None:
    for example in word_examples(loaded, choose_examples(sample, 3), 0.05):
        if example.predicted == example.label == example.predicted_perturbed:
            assert example.probability_perturbed < example.probability


def test_words_are_pushed_to_where_the_loss_rises(loaded: LoadedClassifier, sample: Sample) -> None:
    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    ids = {tokenizer.token(i): i for i in range(tokenizer.vocabulary_size)}
    chosen = choose_examples(sample, 3)
    pushed = 0
    for example, row in zip(word_examples(loaded, chosen, 0.5), chosen.rows, strict=True):
        sizes = [move.size for move in example.moves]
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) == min(5, len(example.words))
        batch = Documents(sample.split).batch(row[None])
        x = loaded.classifier.embed(batch.tokens).detach()

        def loss(at: Tensor, batch: Batch = batch) -> float:
            with torch.no_grad():
                return float(cross_entropy(loaded.classifier.classify(at, batch.lengths), batch.labels))

        for move in example.moves:
            assert example.words[move.place].strip() == move.word
            if move.towards is None:
                continue
            pushed += 1
            assert move.towards not in (move.word, "<pad>", "<unk>", "<eos>")
            step = torch.zeros_like(x)
            step[0, move.place] = loaded.classifier.embed(torch.tensor([ids[move.towards]]))[0] - x[0, move.place]
            assert loss(x + 0.01 * step) > loss(x)
    assert pushed > 5


def test_of_long_documents_the_end_is_shown(
    loaded: LoadedClassifier, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = word_examples(loaded, choose_examples(sample, 1), 0.5)[0]
    monkeypatch.setattr(examples, "SHOWN_WORDS", 3)
    part = word_examples(loaded, choose_examples(sample, 1), 0.5)[0]
    assert part.words == [" five", " six", " seven"]
    assert part.skipped == 4
    assert part.sizes == whole.sizes[4:]
    assert part.moves == whole.moves
