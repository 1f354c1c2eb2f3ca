from html.parser import HTMLParser

import pytest

from textadv.evaluation.report.page import Html, details, document, join, picture, table, tag

EVIL = "<script>alert('x')</script>"


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


def test_texts_are_escaped_and_markup_is_not() -> None:
    assert tag("p", "a & b", tag("b", EVIL)) == (
        "<p>a &amp; b<b>&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;</b></p>"
    )
    assert tag("img", alt='"><b>', src="") == '<img alt="&quot;&gt;&lt;b&gt;">'
    assert join(["<", Html("<hr>")]) == "&lt;<hr>"


def test_text_and_markup_put_together_by_hand_is_text_again() -> None:
    assert tag("p", "x " + tag("b", "y")) == "<p>x &lt;b&gt;y&lt;/b&gt;</p>"


@pytest.mark.parametrize("part", ["caption", "head", "name", "cell"])
def test_every_part_of_a_table_is_escaped(part: str) -> None:
    at = {"caption": "c", "head": "h", "name": "n", "cell": "x"} | {part: EVIL}
    assert "<script" not in table(at["caption"], ["", at["head"]], [(at["name"], at["cell"])])


def test_heads_of_a_table_say_what_they_head() -> None:
    read = Reader(table("Caption", ["", "a", "b"], [("one", "1", "2"), ("two", "3", "4")], shades="0520"))
    scopes = [attributes.get("scope") for name, attributes in read.tags if name == "th"]
    assert scopes == ["col", "col", "row", "row"]
    cells = [attributes.get("class") for name, attributes in read.tags if name == "td"]
    assert cells == [None, "number c0", "number c5", "number c2", "number c0"]
    name, box = read.tags[0]
    assert (name, box["class"], box["tabindex"], box["aria-label"]) == ("div", "scroll", "0", "Caption")


def test_a_picture_has_both_colour_schemes_and_a_text() -> None:
    read = Reader(picture(b"light", b"dark", EVIL))
    assert read.tags[1] == (
        "source",
        {"media": "(prefers-color-scheme: dark)", "srcset": "data:image/png;base64,ZGFyaw=="},
    )
    assert read.tags[2] == ("img", {"src": "data:image/png;base64,bGlnaHQ=", "alt": EVIL})


def test_a_document_is_complete() -> None:
    read = Reader(document(EVIL, EVIL, [("One", tag("p", "x")), ("Two", details("more", "y"))], EVIL))
    assert read.tags[0] == ("html", {"lang": "en"})
    assert "script" not in {name for name, _ in read.tags}
    metas = [attributes for name, attributes in read.tags if name == "meta"]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in metas
    (policy,) = [meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    links = [attributes["href"] for name, attributes in read.tags if name == "a"]
    assert links == [f"#{attributes['id']}" for name, attributes in read.tags if name == "h2"]
    assert len(links) == 2
