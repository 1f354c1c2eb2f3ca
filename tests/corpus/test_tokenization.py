import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textadv.corpus.fitting import fit
from textadv.corpus.tokenization import EOS, SPECIAL_TOKENS, UNKNOWN, EncodedDocuments, TextTokenizer
from textadv.errors import InputError
from textadv.settings import TokenizerSettings

TRAIN = [
    "The film was good, the plot wasn't.<br /><br />Good film!",
    "A <BR/>good_plot: the café — CAFÉ, cafe\u0301 £5 हिन्दी",
    "the the the bad bad <eos> <unk> <pad>",
    "",
    "<eos> once <unk> <pad>, bad हिन्दी",
]
TEXTS = {"train": TRAIN, "unlabeled": ["the unlabeled bad film"], "validation": ["unseen film"], "test": ["unseen"]}
TRAINING = ["train", "unlabeled"]


def words(tokenizer: TextTokenizer, text: str) -> list[str]:
    return [tokenizer.token(id) for id in tokenizer.encode([text])[0].tolist()]


def fit_words(train: list[str], **changes: object) -> TextTokenizer:
    return fit({"train": train}, ["train"], TokenizerSettings(**({"min_documents": 1} | changes)))[0]  # type: ignore[arg-type]


def test_punctuation_and_line_breaks_are_spaces() -> None:
    tokenizer = fit_words(TRAIN)
    assert words(tokenizer, TRAIN[0]) == [
        *("The", "film", "was", "good", "the", "plot", "wasn", "t", "Good", "film"),
        "<eos>",
    ]
    # Composed and decomposed accents are one word; marks belong to their word; currency signs do not.
    assert words(tokenizer, TRAIN[1])[:7] == ["A", "good", "plot", "the", "café", "CAFÉ", "café"]
    assert words(tokenizer, TRAIN[1])[7:] == ["5", "हिन्दी", "<eos>"]


def test_lowercase_folds_case() -> None:
    tokenizer = fit_words(TRAIN, lowercase=True)
    assert words(tokenizer, "THE Good CAFÉ") == ["the", "good", "café", "<eos>"]
    assert words(fit_words(TRAIN), "THE Good CAFÉ") == ["<unk>", "Good", "CAFÉ", "<eos>"]


def test_words_are_sorted_by_count_then_alphabet() -> None:
    tokenizer = fit_words(["b b b a a c c d", "d e"])
    expected = [*SPECIAL_TOKENS, "b", "a", "c", "d", "e"]
    assert [tokenizer.token(id) for id in range(tokenizer.vocabulary_size)] == expected


def test_min_documents_counts_documents_not_occurrences() -> None:
    tokenizer = fit_words(["often often often twice", "twice rare"], min_documents=2)
    assert words(tokenizer, "often twice rare") == ["<unk>", "twice", "<unk>", "<eos>"]
    assert tokenizer.vocabulary_size == 4


def test_max_vocabulary_keeps_the_most_frequent() -> None:
    tokenizer = fit_words(["a a a b b c"], max_vocabulary=5)
    assert words(tokenizer, "a b c") == ["a", "b", "<unk>", "<eos>"]
    assert tokenizer.vocabulary_size == 5


def test_unknown_words_can_be_dropped() -> None:
    tokenizer = fit_words(["a b"], unknown="drop")
    assert words(tokenizer, "x a y y b z") == ["a", "b", "<eos>"]
    assert words(tokenizer, "x y") == ["<eos>"]
    assert words(TextTokenizer.from_json(tokenizer.to_json()), "x a") == ["a", "<eos>"]


@pytest.mark.parametrize("unknown", ["replace", "drop"])
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize(("kind", "max_vocabulary"), [("word", 12), ("bpe", 300)])
def test_fit_encodes_as_the_tokenizer_does(kind: str, max_vocabulary: int, lowercase: bool, unknown: str) -> None:
    chosen = TokenizerSettings(kind, lowercase, max_vocabulary, 2, unknown)  # type: ignore[arg-type]
    tokenizer, documents = fit(TEXTS, TRAINING, chosen)
    read_again = TextTokenizer.from_json(tokenizer.to_json())
    assert read_again.to_json() == tokenizer.to_json()
    assert read_again.vocabulary_size == tokenizer.vocabulary_size <= max_vocabulary
    assert list(documents) == list(TEXTS)
    for name, texts in TEXTS.items():
        encoded = read_again.encode(texts)
        assert all(ids.dtype == np.int64 and ids[-1] == EOS for ids in encoded)
        assert [ids.tolist() for ids in encoded] == [ids.tolist() for ids in documents[name]]
        assert documents[name].lengths.tolist() == [len(ids) for ids in encoded]
    if kind == "word":
        assert words(read_again, "unseen") == ([] if unknown == "drop" else ["<unk>"]) + ["<eos>"]


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_vocabulary_comes_from_training_texts_alone(kind: str) -> None:
    chosen = TokenizerSettings(kind, max_vocabulary=400, min_documents=1)  # type: ignore[arg-type]
    one = fit(TEXTS, TRAINING, chosen)[0]
    changed = TEXTS | {"validation": ["film zzz zzz"] * 50, "test": ["the qqq qqq"] * 50}
    assert fit(changed, TRAINING, chosen)[0].to_json() == one.to_json()
    with_unlabeled = TEXTS | {"unlabeled": ["zzz zzz zzz"] * 50}
    assert fit(with_unlabeled, TRAINING, chosen)[0].to_json() != one.to_json()


@pytest.mark.parametrize("kind", ["word", "bpe"])
@pytest.mark.parametrize("text", ["<eos>", "<unk> <pad>", "a<eos>", "<pad><unk><eos>", "Ġ<eos>Ġ"])
def test_text_never_makes_special_tokens(kind: str, text: str) -> None:
    train = [f"{text} {special}" for special in SPECIAL_TOKENS] * 20
    chosen = TokenizerSettings(kind, max_vocabulary=1000, min_documents=1)  # type: ignore[arg-type]
    tokenizer = fit({"train": train}, ["train"], chosen)[0]
    ids = TextTokenizer.from_json(tokenizer.to_json()).encode([text])[0]
    assert ids[-1] == EOS
    assert len(ids) > 1
    assert ids[:-1].min() >= len(SPECIAL_TOKENS)


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_training_is_deterministic(kind: str) -> None:
    chosen = TokenizerSettings(kind, max_vocabulary=350, min_documents=1)  # type: ignore[arg-type]
    first, second = (fit(TEXTS, TRAINING, chosen) for _ in range(2))
    assert first[0].to_json() == second[0].to_json()
    assert first[1]["train"].tokens.tolist() == second[1]["train"].tokens.tolist()


BYTES = fit({"train": TRAIN}, ["train"], TokenizerSettings("bpe", max_vocabulary=300))[0]


@pytest.mark.parametrize(
    "text", ["plain", "日本語 \U0001f600", "\x00\x7f\u200b", "\n\t \xa0", "e\u0301\u0301", "<br", ""]
)
def test_bpe_knows_every_text(text: str) -> None:
    ids = BYTES.encode([text])[0]
    assert ids[-1] == EOS
    assert (ids[:-1] >= len(SPECIAL_TOKENS)).all()
    assert (ids < BYTES.vocabulary_size).all()


def test_bpe_writes_its_tokens_for_people() -> None:
    assert "".join(words(BYTES, "good films<br />indeed")) == " good films indeed<eos>"


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_pieces_make_up_the_text(kind: str) -> None:
    chosen = TokenizerSettings(kind, max_vocabulary=300, min_documents=1)  # type: ignore[arg-type]
    tokenizer = fit(TEXTS, TRAINING, chosen)[0]
    pieces = tokenizer.pieces(tokenizer.encode(["the bad film"])[0].tolist())
    assert pieces.pop().strip() == "<eos>"
    assert "".join(pieces) == " the bad film"
    assert len(pieces) == 3 or kind == "bpe"


@pytest.mark.parametrize("unknown", ["replace", "drop"])
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize(("kind", "max_vocabulary"), [("word", 12), ("bpe", 300)])
def test_what_is_decoded_is_encoded_as_it_was(kind: str, max_vocabulary: int, lowercase: bool, unknown: str) -> None:
    chosen = TokenizerSettings(kind, lowercase, max_vocabulary, 1, unknown)  # type: ignore[arg-type]
    tokenizer = fit(TEXTS, TRAINING, chosen)[0]
    texts = [*TRAIN, "unk unkunk film", "unseen (film)\n  <br>dull", "e\u0301\u0301 \u0130 \u03a3", "\u2014\U0001f600"]
    encoded = tokenizer.encode(texts)
    assert kind == "bpe" or unknown == "drop" or any(UNKNOWN in ids for ids in encoded)
    again = tokenizer.encode([tokenizer.decode(ids[:-1].tolist()) for ids in encoded])
    assert [ids.tolist() for ids in again] == [ids.tolist() for ids in encoded]


def test_an_unknown_word_is_decoded_to_one_out_of_the_vocabulary() -> None:
    assert fit_words(["a b"]).decode([UNKNOWN, 3]) == "unk a"
    tokenizer = fit_words(["unk a unkunk unk a unk"])
    assert tokenizer.decode([UNKNOWN, 3]) == "unkunkunk unk"


def test_bpe_merges_what_is_frequent() -> None:
    assert BYTES.vocabulary_size == 300
    assert len(BYTES.encode([" the"])[0]) == 2


@pytest.mark.parametrize("tokenizer", [BYTES, fit_words(TRAIN)])
def test_lone_surrogates_are_punctuation(tokenizer: TextTokenizer) -> None:
    assert tokenizer.encode(["good\ud800film"])[0].tolist() == tokenizer.encode(["good?film"])[0].tolist()


def test_lone_surrogates_in_training_text() -> None:
    assert words(fit_words(["a\udfffb"]), "a b") == ["a", "b", "<eos>"]


@pytest.mark.parametrize("cores", [1, 3])
def test_chunks_leave_no_seam(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    """On one core or several."""
    monkeypatch.setattr("textadv.corpus.fitting.cores", lambda: cores)
    whole = fit(TEXTS, TRAINING, TokenizerSettings(min_documents=1))
    monkeypatch.setattr("textadv.corpus.tokenization.CHARACTERS_PER_BATCH", 50)
    monkeypatch.setattr("textadv.corpus.fitting.CHARACTERS_PER_PART", 90)
    monkeypatch.setattr("textadv.corpus.fitting.PARTS_ALONE", 1)
    monkeypatch.setattr("textadv.corpus.vocabulary.MOST_WORDS", 3)
    pieces = fit(TEXTS, TRAINING, TokenizerSettings(min_documents=1))
    assert pieces[0].to_json() == whole[0].to_json()
    for name in TEXTS:
        assert pieces[1][name].tokens.tolist() == whole[1][name].tokens.tolist()
        assert pieces[1][name].lengths.tolist() == whole[1][name].lengths.tolist()


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=8), min_size=1, max_size=8), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_vocabulary_against_a_plain_count(documents: list[list[str]], min_documents: int) -> None:
    tokenizer = fit_words([" ".join(document) for document in documents], min_documents=min_documents, max_vocabulary=8)
    counts = Counter(word for document in documents for word in document)
    in_documents = Counter(word for document in documents for word in set(document))
    expected = sorted((w for w in counts if in_documents[w] >= min_documents), key=lambda w: (-counts[w], w))[:5]
    assert [tokenizer.token(id) for id in range(3, tokenizer.vocabulary_size)] == expected


def test_without_unknown_of_nothing() -> None:
    nothing = EncodedDocuments(np.zeros(0, np.int32), np.zeros(0, np.int64)).without_unknown()
    assert len(nothing.tokens) == len(nothing.lengths) == 0
    assert nothing.offsets.tolist() == [0]


def test_without_unknown() -> None:
    tokens = np.array([5, UNKNOWN, EOS, EOS, UNKNOWN, EOS, 7, 8, EOS], np.int32)
    documents = EncodedDocuments(tokens, np.array([3, 1, 2, 3])).without_unknown()
    assert [document.tolist() for document in documents] == [[5, EOS], [EOS], [EOS], [7, 8, EOS]]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (TokenizerSettings(max_vocabulary=3), "--tokenizer.max_vocabulary 3: kind word needs at least 4"),
        (TokenizerSettings("bpe", max_vocabulary=258), "--tokenizer.max_vocabulary 258: kind bpe needs at least 259"),
    ],
)
def test_impossible_settings(chosen: TokenizerSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(TEXTS, TRAINING, chosen)


def test_the_smallest_vocabularies() -> None:
    assert fit(TEXTS, TRAINING, TokenizerSettings(max_vocabulary=4))[0].vocabulary_size == 4
    assert fit(TEXTS, TRAINING, TokenizerSettings("bpe", max_vocabulary=259))[0].vocabulary_size == 259


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", json.dumps({"unknown": "drop", "tokenizer": {}})])
def test_json_of_something_else(text: str) -> None:
    with pytest.raises(InputError, match=r"^not a tokenizer of textadv: .*$"):
        TextTokenizer.from_json(text)


def test_token_outside_the_vocabulary() -> None:
    with pytest.raises(IndexError, match="token id 300"):
        BYTES.token(300)
