"""The page: data in, HTML out, as `report.html.jinja` has it. Every value is text there and is escaped."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        caption: What it says.
        columns: Heads of all columns; the first may be empty.
        rows: Cells, as many as there are columns.
        numeric: All columns but the first hold numbers.
        shades: How strongly each cell that is not a row's name is tinted, from 0 to 5; empty for not at all.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: bool = True
    shades: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Figure:
    """A picture in two versions, of which the reader's colour scheme chooses one.

    Attributes:
        title: For people.
        alt: What it shows, in numbers.
        light: The picture as PNG.
        dark: The same for a dark page.
        numbers: What it is drawn from.
    """

    title: str
    alt: str
    light: bytes
    dark: bytes
    numbers: Table


def render(title: str, lead: str, parts: Mapping[str, Any], footer: str) -> str:
    """A whole page.

    Args:
        title: Its heading.
        lead: What it is about.
        parts: What the template's section of the same name shows; what is missing or empty is left out.
        footer: Its last line.

    Returns:
        The page.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return environment.get_template("report.html.jinja").render(title=title, lead=lead, parts=parts, footer=footer)
