from dataclasses import replace
from html.parser import HTMLParser

import pytest

from textadv.evaluation.report.page import Figure, Table, render

EVIL = "<script>alert('x')</script>"
PLAIN = Table("Caption", ["", "a", "b"], [("one", "1", "2"), ("two", "3", "4")])
FIGURE = Figure("Title", '"><b>', b"light", b"dark", replace(PLAIN, shades=[[0, 5], [2, 0]]))


class Reader(HTMLParser):
    """Tags with their attributes, in order, and the text of each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.tags[-1][0] if self.tags else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(*figures: Figure) -> str:
    return render("Report", "lead", {"linearity": [], "smoothness": [], "training": figures} | NOTHING, "footer")


NOTHING = dict.fromkeys(["model_cards", "quality", "robustness", "word_examples", "substitutions"])


@pytest.mark.parametrize("part", ["caption", "head", "name", "cell"])
def test_every_part_of_a_table_is_escaped(part: str) -> None:
    at = {"caption": "c", "head": "h", "name": "n", "cell": "x"} | {part: EVIL}
    text = page(replace(FIGURE, numbers=Table(at["caption"], ["", at["head"]], [(at["name"], at["cell"])])))
    assert "<script" not in text
    assert EVIL in {data for _, data in Reader(text).texts}


def test_heads_of_a_table_say_what_they_head() -> None:
    read = Reader(page(FIGURE))
    assert [attributes.get("scope") for attributes in read.all("th")] == ["col", "col", "row", "row"]
    cells = [attributes.get("class") for attributes in read.all("td")]
    assert cells == [None, "number c0", "number c5", "number c2", "number c0"]
    (box,) = [attributes for attributes in read.all("div") if attributes["class"] == "scroll"]
    assert (box["tabindex"], box["aria-label"]) == ("0", "Caption")


def test_columns_of_words_are_not_set_as_numbers() -> None:
    read = Reader(page(replace(FIGURE, numbers=replace(PLAIN, columns=["n", "a", "b"], numeric=False))))
    assert [attributes.get("class") for attributes in [*read.all("td"), *read.all("th")]] == [None] * 9
    assert len(read.all("td")) == 4


def test_a_figure_has_both_colour_schemes_and_a_text() -> None:
    read = Reader(page(FIGURE))
    assert read.all("source") == [{"media": "(prefers-color-scheme: dark)", "srcset": "data:image/png;base64,ZGFyaw=="}]
    assert read.all("img") == [{"src": "data:image/png;base64,bGlnaHQ=", "alt": '"><b>'}]


def test_a_page_is_complete() -> None:
    parts = {"linearity": [FIGURE], "smoothness": [], "training": [FIGURE]} | NOTHING
    text = render(EVIL, EVIL, parts, EVIL)
    assert text.startswith("<!doctype html>")
    read = Reader(text)
    assert read.tags[0] == ("html", {"lang": "en"})
    assert read.all("script") == []
    assert [name for name, data in read.texts if data == EVIL] == ["title", "h1", "p", "p"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.all("meta")
    (policy,) = [meta["content"] for meta in read.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    links = [attributes["href"] for attributes in read.all("a")]
    assert links == [f"#{attributes['id']}" for attributes in read.all("h2")]
    assert links == ["#linearity", "#training"]
