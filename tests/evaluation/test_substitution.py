import numpy as np
import pytest
import torch

from textadv.adversarial.divergences import cross_entropy
from textadv.checkpoints import LoadedClassifier
from textadv.corpus.batching import Batch, collate
from textadv.corpus.fitting import fit
from textadv.corpus.tokenization import TextTokenizer
from textadv.corpus.words import split_words
from textadv.evaluation.lexicon import Lexicon
from textadv.evaluation.substitution import ChangedDocument, changed_documents, substitute_words
from textadv.models.classifier import Classifier
from textadv.models.factory import build_classifier, build_encoder
from textadv.settings import ModelSettings, TokenizerSettings

BUDGETS = [0.1, 0.25, 0.5]
SENTENCES = [
    "The film was good, the plot wasn't (a dull film).<br /><br />Good film!",
    'A "great" cast: the café — dull 10th scene, 20 songs; it\'s unwatchable...',
    "plot plot cast scene songs great dull good film हिन्दी \U0001f600 2nd",
    "  two  spaces,\na line; under_score good-looking film/plot",
]
TEXTS = [f"{a} {b}" for a in SENTENCES for b in SENTENCES] * 2
TEXTS[5] += " seldom"


@pytest.fixture
def lexicon(loaded: LoadedClassifier) -> Lexicon:
    tokenizer = TextTokenizer.from_json(loaded.tokenizer_json)
    return Lexicon.of(tokenizer, [np.arange(tokenizer.vocabulary_size)])


@pytest.fixture
def batch(loaded: LoadedClassifier) -> Batch:
    """Documents with the labels that they are given."""
    lengths = torch.tensor([13, 9, 5, 1])
    tokens = torch.randint(3, 16, (4, 13), generator=torch.Generator().manual_seed(3))
    tokens[torch.arange(4), lengths - 1] = 2
    tokens = tokens.masked_fill(torch.arange(13) >= lengths[:, None], 0)
    with torch.no_grad():
        return Batch(tokens, lengths, loaded.classifier(tokens, lengths).argmax(1))


def test_changes_stay_in_the_budget_and_grow(loaded: LoadedClassifier, batch: Batch, lexicon: Lexicon) -> None:
    result = substitute_words(loaded.classifier, batch, lexicon, BUDGETS, -1.0)
    changed = result.tokens != batch.tokens
    words = batch.lengths - 1
    for budget, change in zip(BUDGETS, changed, strict=True):
        assert (change.sum(1) <= budget * words).all()
    assert (changed[1:] | ~changed[:-1]).all()
    assert (result.tokens[1:] == result.tokens[:-1])[changed[:-1]].all()  # no word is changed twice
    assert changed[-1].any()
    assert not changed[:, 3].any()


def test_only_words_become_words(loaded: LoadedClassifier, batch: Batch, lexicon: Lexicon) -> None:
    result = substitute_words(loaded.classifier, batch, lexicon, BUDGETS, -1.0)
    changed = result.tokens[-1] != batch.tokens
    assert not lexicon.fixed[batch.tokens[changed]].any()
    assert not lexicon.fixed[result.tokens[-1][changed]].any()


def test_replacements_are_similar(loaded: LoadedClassifier, batch: Batch, lexicon: Lexicon) -> None:
    table = loaded.classifier.encoder.word_table()
    similarity = torch.cosine_similarity(table[:, None], table[None], dim=2)
    for least in (0.0, 0.3):
        result = substitute_words(loaded.classifier, batch, lexicon, [1.0], least)
        changed = result.tokens[-1] != batch.tokens
        assert changed.any()
        assert (similarity[batch.tokens[changed], result.tokens[-1][changed]] >= least - 1e-6).all()
    assert not (substitute_words(loaded.classifier, batch, lexicon, [1.0], 1.01).tokens[-1] != batch.tokens).any()


def test_fooled_documents_are_those_that_lose_their_label(
    loaded: LoadedClassifier, batch: Batch, lexicon: Lexicon
) -> None:
    result = substitute_words(loaded.classifier, batch, lexicon, BUDGETS, -1.0)
    with torch.no_grad():
        predictions = torch.stack([loaded.classifier(t, batch.lengths).argmax(1) for t in result.tokens])
    assert (result.fooled == (predictions != batch.labels)).all()
    assert (result.fooled[1:] | ~result.fooled[:-1]).all()
    with torch.no_grad():
        before = cross_entropy(loaded.classifier(batch.tokens, batch.lengths), batch.labels)
        after = cross_entropy(loaded.classifier(result.tokens[-1], batch.lengths), batch.labels)
    changed = (result.tokens[-1] != batch.tokens).any(1)
    assert (after > before)[changed].all()


def test_a_wrong_document_is_left_as_it_is(loaded: LoadedClassifier, batch: Batch, lexicon: Lexicon) -> None:
    wrong = batch._replace(labels=(batch.labels + 1) % 3)
    result = substitute_words(loaded.classifier, wrong, lexicon, BUDGETS, -1.0)
    assert result.fooled.all()
    assert (result.tokens == batch.tokens).all()


@pytest.fixture(params=["word", "word, drop", "bpe", "bpe of few tokens"])
def spelled(request: pytest.FixtureRequest) -> tuple[Lexicon, Classifier, Batch]:
    """Words, a random classifier, and documents of all sorts with the labels that they are given."""
    kind, _, rest = request.param.partition(" ")
    settings = TokenizerSettings(
        "bpe" if kind == "bpe" else "word",
        max_vocabulary=300 if rest else 400,
        min_documents=2,
        unknown="drop" if rest == "drop" else "replace",
    )
    tokenizer, documents = fit({"train": TEXTS}, ["train"], settings)
    torch.manual_seed(0)
    model = ModelSettings(embedding_size=5, hidden_size=6, pooling="last_mean_max", head_size=8)
    encoder = build_encoder(model, torch.ones(tokenizer.vocabulary_size))
    classifier = build_classifier(model, encoder, 2).eval()
    batch = collate(list(documents["train"]), np.zeros(len(TEXTS), np.int64))
    with torch.no_grad():
        batch = batch._replace(labels=classifier(batch.tokens, batch.lengths).argmax(1))
    return Lexicon.of(tokenizer, [documents["train"].tokens]), classifier, batch


def test_the_result_is_a_text(spelled: tuple[Lexicon, Classifier, Batch]) -> None:
    lexicon, classifier, batch = spelled
    tokenizer = lexicon.tokenizer
    result = substitute_words(classifier, batch, lexicon, BUDGETS, -1.0)
    assert (result.tokens[-1] != batch.tokens).any(1).sum() > len(TEXTS) / 2
    for tokens, fooled in zip(result.tokens, result.fooled, strict=True):
        documents = [row[:n].tolist() for row, n in zip(tokens, batch.lengths, strict=True)]
        texts = [tokenizer.decode(ids[:-1]) for ids in documents]
        encoded = tokenizer.encode(texts)
        assert [ids.tolist() for ids in encoded] == documents
        again = collate(encoded, np.zeros(len(texts), np.int64))
        with torch.no_grad():
            assert ((classifier(again.tokens, again.lengths).argmax(1) != batch.labels) == fooled).all()


def test_whole_words_are_replaced_and_words_are_counted(spelled: tuple[Lexicon, Classifier, Batch]) -> None:
    lexicon, classifier, batch = spelled
    tokenizer = lexicon.tokenizer
    result = substitute_words(classifier, batch, lexicon, BUDGETS, -1.0)
    assert (result.exchangeable <= lexicon.exchangeable(batch.tokens, batch.lengths).sum(1)).all()
    assert ((result.tokens[-1] != batch.tokens).sum(1) <= result.exchangeable).all()
    for budget, tokens in zip(BUDGETS, result.tokens, strict=True):
        for before, after, length in zip(batch.tokens, tokens, batch.lengths, strict=True):
            old, new = (split_words(tokenizer.decode(ids[: length - 1].tolist())) for ids in (before, after))
            assert len(old) == len(new)
            assert sum(a != b for a, b in zip(old, new, strict=True)) == (before != after).sum() <= budget * len(old)


def test_a_text_that_is_encoded_otherwise_is_left_as_it_is() -> None:
    odd = "<br<br/>/> the film was good and the plot was good too"
    tokenizer, documents = fit({"train": TEXTS}, ["train"], TokenizerSettings("bpe", max_vocabulary=400))
    assert tokenizer.encode([tokenizer.decode(tokenizer.encode([odd])[0].tolist()[:-1])])[0].tolist() != (
        tokenizer.encode([odd])[0].tolist()
    )
    model = ModelSettings(embedding_size=5, hidden_size=6, head_size=8)
    torch.manual_seed(0)
    encoder = build_encoder(model, torch.ones(tokenizer.vocabulary_size))
    classifier = build_classifier(model, encoder, 2).eval()
    batch = collate(tokenizer.encode([odd, odd.replace("<br<br/>/>", "")]), np.zeros(2, np.int64))
    with torch.no_grad():
        batch = batch._replace(labels=classifier(batch.tokens, batch.lengths).argmax(1))
    result = substitute_words(classifier, batch, Lexicon.of(tokenizer, [documents["train"].tokens]), [1.0], -1.0)
    assert (result.tokens[0] != batch.tokens).any(1).tolist() == [False, True]


def test_examples_are_documents_that_were_right_and_are_changed(
    loaded: LoadedClassifier, batch: Batch, lexicon: Lexicon
) -> None:
    wrong = batch._replace(labels=torch.where(torch.arange(4) == 1, (batch.labels + 1) % 3, batch.labels))
    result = substitute_words(loaded.classifier, wrong, lexicon, BUDGETS, -1.0)
    rows = np.array([40, 50, 60, 70])
    examples = changed_documents(loaded.classifier, wrong, result, BUDGETS, rows, lexicon, loaded.classes)
    assert {example.document for example in examples} <= {40, 60}  # one was wrong before, one has no words
    assert examples
    for example in examples:
        i = rows.tolist().index(example.document)
        before, after = ("".join(words) for words in (example.before, example.after))
        assert lexicon.tokenizer.encode([before])[0].tolist() == batch.tokens[i, : batch.lengths[i]].tolist()
        assert example.label == loaded.classes[batch.labels[i]]
        at = BUDGETS.index(example.budget)
        tokens = lexicon.tokenizer.encode([after])[0].tolist()
        assert tokens == result.tokens[at, i, : batch.lengths[i]].tolist()
        assert example.replaced == (result.tokens[at, i] != batch.tokens[i]).sum()
        lost = result.fooled[:, i]
        assert bool(lost[at]) == (example.predicted != example.label)
        assert not lost[:at].any()
        assert lost[at] or at == len(BUDGETS) - 1
        predicted = loaded.classifier(torch.tensor([tokens]), batch.lengths[i : i + 1]).argmax(1).item()
        assert loaded.classes[predicted] == example.predicted


def test_examples_that_lose_their_label_come_first_then_short_ones() -> None:
    def example(document: int, lost: bool, words: int) -> ChangedDocument:
        return ChangedDocument(document, "bad", "good" if lost else "bad", 0.1, [" a"] * words, [" b"] * words)

    examples = [example(2, False, 9), example(1, True, 999), example(6, True, 8), example(5, True, 9)]
    assert [found.document for found in sorted(examples, key=lambda example: example.rank)] == [5, 6, 1, 2]
