"""What a word of a text is: the rule of Miyato et al. (2017)."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import Split

LINE_BREAK = r"<(?i:br)\s*/?>"
# Line-break markup, punctuation (the underscore too) and white space separate words.
WORD_SEPARATOR = rf"(?:{LINE_BREAK}|[\W_])+"
# The same for ASCII text, where Python and the library agree on what a letter, a digit and white space is.
_ASCII_LINE_BREAK = re.compile(LINE_BREAK.replace(r"\s", r"[\t-\r ]"))
_ASCII_WORD = re.compile("[0-9A-Za-z]+")


@cache
def word_splitter() -> Split:
    """The rule as a part of a tokenizer."""
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(WORD_SEPARATOR), "removed")


def ascii_words(text: str) -> list[str]:
    """The words of a text of ASCII characters, much faster than by the library's rule, which is for all of Unicode."""
    return _ASCII_WORD.findall(_ASCII_LINE_BREAK.sub(" ", text))


def word_places(text: str) -> list[tuple[int, int]]:
    """Where each word of a text starts and where it ends."""
    return [place for _, place in word_splitter().pre_tokenize_str(text)]


def split_words(text: str) -> list[str]:
    """Cut a text into its words, to be shown one after another.

    Args:
        text: The text.

    Returns:
        Each word with the space before it and the punctuation that clings to it; together they are the text. None
        where that has no words.
    """
    places = word_places(text)
    if not places:
        return []
    cuts = [end + len(re.split(r"\s", text[end:start], maxsplit=1)[0]) for (_, end), (start, _) in pairwise(places)]
    return [text[start:stop] for start, stop in pairwise([0, *cuts, len(text)])]
