"""The Chinese documents say what the English ones say: their code, numbers, tables and links are compared.

What a sentence says is not compared. A number that English writes as a word is written as a word in Chinese, too.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHINESE = sorted([*ROOT.glob("*.zh.md"), *(ROOT / "docs").glob("*.zh.md")])
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)*")
BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TRANSLATED = re.compile(r"\b(README|TUTORIAL)(\.zh)?\.md(#[\w-]*)?")  # their headings differ


def _sections(document: Path) -> list[str]:
    text = re.sub(r"(\d+) million", lambda match: f"{match[1]}00 万", document.read_text(encoding="utf-8"))
    return re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]


def _pairs() -> list[tuple[str, str]]:
    """Each Chinese section beside its English one."""
    pairs = []
    for chinese in CHINESE:
        english = chinese.with_name(chinese.name.replace(".zh", ""))
        pairs += list(zip(_sections(english), _sections(chinese), strict=True))
    return pairs


PAIRS = _pairs()
section = pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[english.split("\n")[0] for english, _ in PAIRS])


def _cells(text: str) -> list[list[list[str]]]:
    """Numbers and code of every cell of every row of a table."""
    rows = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    return [[re.findall(rf"{NUMBER.pattern}|`[^`]*`", cell) for cell in row.split("|")] for row in rows]


def test_there_are_chinese_documents() -> None:
    assert [path.relative_to(ROOT).as_posix() for path in CHINESE] == ["README.zh.md", "docs/TUTORIAL.zh.md"]
    for path in CHINESE:  # each language leads to the other
        english = path.with_name(path.name.replace(".zh", ""))
        assert f"]({path.name})" in english.read_text(encoding="utf-8")
        assert f"]({english.name})" in path.read_text(encoding="utf-8")


@section
def test_code_blocks_are_equal(english: str, chinese: str) -> None:
    assert BLOCK.findall(chinese) == BLOCK.findall(english)


@section
def test_tables_have_the_same_numbers(english: str, chinese: str) -> None:
    assert _cells(chinese) == _cells(english)


@section
def test_sentences_have_the_same_numbers_and_code(english: str, chinese: str) -> None:
    pattern = re.compile(rf"{NUMBER.pattern}|`[^`\n]+`|\$[^$\n]+\$")
    said = [sorted(pattern.findall(BLOCK.sub("", text))) for text in (english, chinese)]
    assert said[1] == said[0]


@section
def test_links_lead_to_the_same_places(english: str, chinese: str) -> None:
    targets = [set(re.findall(r"\]\(([^)]+)\)", TRANSLATED.sub(r"\1", text))) for text in (english, chinese)]
    assert targets[1] == targets[0]
