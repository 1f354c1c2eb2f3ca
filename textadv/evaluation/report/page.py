"""The page: data in, HTML out, as `report.html.jinja` has it. Every value is text there and is escaped."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SHADES = 5


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows."""

    caption: str  # what it says
    columns: Sequence[str]  # heads of all columns; the first may be empty
    rows: Sequence[Sequence[str]]  # cells, as many as there are columns
    numeric: bool = True  # all columns but the first hold numbers
    shades: Sequence[Sequence[int]] = ()  # of each cell that is not a row's name, see `shade`; empty for none


@dataclass(frozen=True)
class Figure:
    """A picture in two versions, of which the reader's colour scheme chooses one."""

    title: str  # for people
    alt: str  # what it shows, in numbers
    light: bytes  # the picture as PNG
    dark: bytes  # the same for a dark page
    numbers: Table  # what it is drawn from


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.1f} %"


def shade(part: float, whole: float) -> int:
    """How strongly to tint something: from 0 to `SHADES`, the strongest for the whole."""
    return round(SHADES * part / whole) if whole > 0 else 0


def page_environment(folder: Path) -> Environment:
    """Templates of pages in a folder: every value is escaped, and one that is missing is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(title: str, lead: str, parts: Mapping[str, Any], footer: str) -> str:
    """A whole page: heading, what it is about, what the sections of the template show, if anything, and a last line."""
    environment = page_environment(Path(__file__).parent)
    environment.filters["data_uri"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    environment.filters["percent"] = percent
    environment.globals |= {"shade": shade, "zip": zip}
    return environment.get_template("report.html.jinja").render(title=title, lead=lead, parts=parts, footer=footer)
