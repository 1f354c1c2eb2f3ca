import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textadv.corpus.store import Split, TokenStore
from textadv.evaluation.report import findings
from textadv.evaluation.report.subjects import Subject
from textadv.evaluation.report.write import write_report

SECOND = "_second <script>"
FIGURES = [
    "accuracy_l2",
    "accuracy_linf",
    "confusion_1",
    "confusion_2",
    "losses_1",
    "losses_2",
    "loss_directions",
    "margin_directions",
    "reliability",
    "smoothness",
    "validation_error",
]


class Outline(HTMLParser):
    """What is where on a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for name in self.open[-1:]:
            self.text.setdefault(name, []).append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def folder(make_subject: Callable[[str], Subject], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report, drawn once."""
    empty = Split(np.zeros(0, np.uint16), np.zeros(1, np.int64), np.zeros(0, np.int64))
    store = TokenStore(Path("store"), "f", "t", (), 9, np.ones(9), "{}", {"validation": empty}, {})
    made = tmp_path_factory.mktemp("report")
    write_report(made, [make_subject("first"), make_subject(SECOND)], store, "validation")
    return made


@pytest.fixture(scope="module")
def outline(folder: Path) -> Outline:
    return Outline((folder / "report.html").read_text(encoding="utf-8"))


def test_every_figure_is_there_as_png_and_as_json(folder: Path) -> None:
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert files == sorted(["report.html", *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("json", "png"))])
    for name in FIGURES:
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_json_holds_what_is_drawn(folder: Path, make_subject: Callable[[str], Subject]) -> None:
    subjects = [make_subject("first"), make_subject(SECOND)]

    def read(name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((folder / "figures" / f"{name}.json").read_text(encoding="utf-8"))
        return content

    for chart in [*findings.accuracy_charts(subjects), *findings.smoothness_charts(subjects)]:
        assert read(chart.name) == asdict(chart)
    assert read("accuracy_l2")["series"][1]["y"] == [0.875, 0.5, 0.125]
    assert read("confusion_1")["counts"] == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_the_page_shows_the_numbers_of_the_json(folder: Path, outline: Outline) -> None:
    cells = outline.text["td"]
    for name in ("accuracy_l2", "accuracy_linf"):
        for series in json.loads((folder / "figures" / f"{name}.json").read_text())["series"]:
            assert {f"{100 * y:.1f} %" for y in series["y"]} <= set(cells)
    for series in json.loads((folder / "figures" / "losses_1.json").read_text())["series"]:
        assert {f"{y:.4g}" for y in series["y"]} <= set(cells)


def test_the_page_needs_nothing_else(outline: Outline) -> None:
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(outline.tags)
    for tag, name, value in outline.attributes:
        if name in ("src", "srcset", "href"):
            assert value.startswith("#" if tag == "a" else "data:image/png;base64,"), value[:50]
    style = "".join(outline.text["style"])
    assert "url(" not in style
    assert "@import" not in style


def test_texts_and_names_never_become_markup(folder: Path, outline: Outline) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"&(?!amp;|lt;|gt;|#34;|#39;)", page)
    assert "<script>alert('x')</script>" in outline.text["mark"]  # shown as it is
    assert "a&b" in outline.text["ins"]


def test_every_picture_has_a_text_with_numbers(outline: Outline) -> None:
    texts = outline.values("alt")
    assert len(texts) == outline.tags.count("img") == outline.tags.count("source") == len(FIGURES) - 2
    assert all(re.search(r"\d", text) for text in texts)


def test_headings_descend_one_by_one(outline: Outline) -> None:
    levels = [int(tag[1]) for tag in outline.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert outline.text["h2"] == [
        "Model card",
        "Quality",
        "Robustness",
        "Linearity",
        "Smoothness",
        "Words and their perturbations",
        "Words replaced",
        "Training",
    ]


def test_every_head_of_a_table_has_a_scope_and_every_table_a_box(outline: Outline) -> None:
    assert len(outline.values("scope")) == outline.tags.count("th")
    assert outline.tags.count("table") == outline.values("class").count("scroll") == outline.tags.count("caption")


def test_checks_are_lines(outline: Outline) -> None:
    assert (
        outline.text["span"]
        == [
            *("pass", "logits repeat: largest difference 0"),
            *("warn", "accuracy falls with epsilon: largest rise 1.0%"),
        ]
        * 2
    )


def test_words_are_shaded_by_their_share(outline: Outline) -> None:
    shades = [value for tag, name, value in outline.attributes if tag == "mark" and name == "class"]
    assert shades == ["p1", "p5", "p2"] * 2
    assert "away from all its neighbours" in outline.text["td"]


def test_replaced_words_are_marked_and_no_others(outline: Outline) -> None:
    assert outline.text["del"] == ["<script>alert('x')</script>"] * 2
    assert outline.text["ins"] == ["a&b"] * 2
    assert any("1 of 3 words replaced (at most 20 %), label lost" in text for text in outline.text["h4"])


def test_the_card_says_what_was_trained_on_what(outline: Outline) -> None:
    cells = "\n".join(outline.text["td"])
    for text in ("vat", "1,234", "a&b", "f00d", "60 of at most 90", "torch 2.13.0", "R&D", "runs/first/best.ckpt"):
        assert text in cells


def test_words_that_were_not_replaced_are_left_out(
    tmp_path: Path, subjects: list[Subject], store: TokenStore, outline: Outline
) -> None:
    assert subjects[0].robustness is not None
    subjects[0].robustness = replace(subjects[0].robustness, words=None)
    without = Outline(write_report(tmp_path, subjects[:1], store, "test").read_text(encoding="utf-8"))
    assert [head for head in outline.text["h2"] if head not in without.text["h2"]] == ["Words replaced"]
    assert [text for text in without.text["caption"] if "words are replaced" in text] == []


def test_what_has_not_been_measured_is_left_out(tmp_path: Path, subjects: list[Subject], store: TokenStore) -> None:
    bare = Subject("bare", "x.ckpt", subjects[0].card, quality=subjects[0].quality)
    outline = Outline(write_report(tmp_path, [bare], store, "test").read_text(encoding="utf-8"))
    assert outline.text["h2"] == ["Model card", "Quality"]
    assert sorted(file.stem for file in (tmp_path / "figures").glob("*.png")) == ["confusion_1", "reliability"]
    assert {"not recorded", "60 of at most 90", "1,234"} <= set(outline.text["td"])
