"""The page in a real browser."""

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from browser import BROWSER, FLAGS, MISSING

from textadv.corpus.store import TokenStore
from textadv.evaluation.report.subjects import Subject
from textadv.evaluation.report.write import write_report

# Frames of the width of a phone and of a desktop; what is measured in them becomes the title of the page around them.
PROBE = """<!doctype html><title>none</title>
<iframe srcdoc="{page}" style="width: 375px; height: 800px; border: 0"></iframe>
<iframe srcdoc="{page}" style="width: 1280px; height: 800px; border: 0"></iframe>
<script>
addEventListener("load", () => {{
  const seen = [...document.querySelectorAll("iframe")].map(frame => {{
    const inner = frame.contentDocument, root = inner.documentElement;
    const pictures = [...inner.images];
    return {{
      width: frame.clientWidth,
      room: root.clientWidth,
      content: Math.max(root.scrollWidth, inner.body.scrollWidth),
      pictures: pictures.filter(image => image.naturalWidth > 0).length,
      widest: Math.max(...pictures.map(image => image.getBoundingClientRect().width)),
      shaded: inner.defaultView.getComputedStyle(inner.querySelector("mark.p5")).backgroundColor,
    }};
  }});
  document.title = JSON.stringify(seen);
}});
</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason=MISSING)


def look_at(page: str, folder: Path) -> list[dict[str, Any]]:
    """Measure the page in frames of two widths."""
    probe = folder / "probe.html"
    # The page forbids scripts, and a frame inherits nothing but that: the probe itself runs around it.
    probe.write_text(PROBE.format(page=html.escape(page)), encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    seen: list[dict[str, Any]] = json.loads(html.unescape(title[1]))
    return seen


def test_the_page_fits_and_shows_its_pictures(tmp_path: Path, subjects: list[Subject], store: TokenStore) -> None:
    subjects[1].name = "a-checkpoint-with-a-name-that-is-much-longer-than-any-line-of-a-phone-is-wide"
    subjects[0].examples[0].words[0] = " " + "long" * 60
    assert subjects[0].quality is not None
    page = write_report(tmp_path, subjects, store, "validation").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    phone, desktop = look_at(page, tmp_path)
    for seen in (phone, desktop):
        assert seen["content"] <= seen["room"]  # nothing to scroll to at the side
        assert seen["pictures"] == 9
        assert seen["shaded"] not in ("", "rgba(0, 0, 0, 0)")
    assert (phone["width"], desktop["width"]) == (375, 1280)
    assert phone["room"] >= 350
    assert phone["widest"] <= 375
