"""The site of the documents: it holds all of them, is built without a warning, and its made pages are up to date."""

import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import textadv

ROOT = Path(__file__).parents[1]
SITE = ROOT / "website"
DOCS = ROOT / "docs"
DOCUMENTS = [*ROOT.glob("*.md"), ROOT / "data" / "README.md", *DOCS.glob("*.md")]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
MEASURED = ("README.md", "docs/ROBUSTNESS.md", "docs/PERFORMANCE.md", "docs/RELIABILITY.md")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?: ± \d[\d.]*)? %")


def _paths(entries: list[dict[str, str | list[dict[str, str]]]]) -> list[str]:
    """Pages of the navigation, in their order."""
    values = [value for entry in entries for value in entry.values()]
    return [path for value in values for path in ([value] if isinstance(value, str) else _paths(value))]


@pytest.mark.parametrize("document", [*DOCUMENTS, *DOCS.rglob("*.png")], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_site_shows_the_document_itself(document: Path) -> None:
    path = document.relative_to(ROOT)
    assert (SITE / path).resolve() == document, f"ln -s {'../' * len(path.parts)}{path} website/{path}"
    if document.suffix == ".md":
        assert str(path) in _paths(CONFIG["nav"]), "it needs a line under nav in mkdocs.yml"


def test_the_site_has_no_dead_links_of_its_own() -> None:
    assert [path for path in SITE.rglob("*") if path.is_symlink() and not path.exists()] == []


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed: pip install -e '.[docs]'")
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for path in _paths(CONFIG["nav"]):
        name = path.replace("README.md", "index.md") if path.endswith("README.md") else path
        page = (tmp_path / name).with_suffix(".html").read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img)\b[^>]*(?:src|href)="https?:[^"]*', page) == []  # it works offline
        formulas = re.findall(r"<math.*?</math>", page, re.DOTALL)
        assert [formula for formula in formulas if "\\" in formula] == []  # a command that was not understood
        source = (SITE / path).read_text(encoding="utf-8")
        source = re.sub(r"```.*?```|`[^`]*`", "", source, flags=re.DOTALL)
        assert len(formulas) == len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", source, re.DOTALL))


def test_the_page_of_settings_is_that_of_the_code() -> None:
    page = runpy.run_path(str(DOCS / "reference.py"))["page"]()
    assert (DOCS / "SETTINGS.md").read_text(encoding="utf-8") == page, "run python docs/reference.py"


def test_the_api_page_has_every_public_name() -> None:
    shown = set(re.findall(r"^::: (\S+)", (SITE / "api.md").read_text(encoding="utf-8"), re.MULTILINE))
    modules = (ROOT / "textadv" / "adversarial").glob("[a-z]*.py")
    assert {f"textadv.adversarial.{module.stem}" for module in modules} <= shown
    assert {getattr(textadv, name).__module__ for name in textadv.__all__} <= shown


def test_what_helps_is_said_in_measured_numbers() -> None:
    measured = "".join((ROOT / name).read_text(encoding="utf-8") for name in MEASURED)
    said = NUMBER.findall(" ".join((DOCS / "WHEN.md").read_text(encoding="utf-8").split()))  # a line may end in one
    assert said
    assert [number for number in said if number not in measured] == []


@pytest.mark.slow
def test_the_figures_are_drawn(tmp_path: Path) -> None:
    runpy.run_path(str(DOCS / "figures.py"))["draw"](tmp_path)
    drawn = {file.name for file in tmp_path.iterdir()}
    assert {file.name for file in (DOCS / "figures").iterdir()} == drawn
    assert set(re.findall(r"\(figures/(\S+)\)", (DOCS / "LINEAR.md").read_text(encoding="utf-8"))) == drawn
    assert all(file.stat().st_size < 100_000 for file in (DOCS / "figures").iterdir())
