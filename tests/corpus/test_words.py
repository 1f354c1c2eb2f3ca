import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textadv.corpus.words import ascii_words, split_words, word_places


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ...", []),
        ("a film", ["a", " film"]),
        (" The film, (good) isn't ", [" The", " film,", " (good)", " isn'", "t "]),
        ("one.\n\nTwo_three 10th!", ["one.", "\n\nTwo_", "three", " 10th!"]),
        ("हिन्दी — £5", ["हिन्दी", " — £5"]),
    ],
)
def test_a_text_is_cut_into_its_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words
    assert len(word_places(text)) == len(words)


def test_words_stand_where_it_is_said() -> None:
    text = "The <br />film_plot"
    assert [text[start:stop] for start, stop in word_places(text)] == ["The", "film", "plot"]


@given(
    st.lists(st.sampled_from(["<", "br", "BR", "bR", "/", ">", " ", "\t", "\x0b", "\x1c", "_", "x", "Y", "7"])).map(
        "".join
    )
    | st.text(st.characters(max_codepoint=127))
)
@settings(max_examples=300, deadline=None)
def test_the_words_of_ascii_text_are_those_of_the_library(text: str) -> None:
    assert ascii_words(text) == [text[start:stop] for start, stop in word_places(text)]
