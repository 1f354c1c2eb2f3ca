"""Markup. Every string is text and is escaped, unless it has been made here."""

import base64
import html
from collections.abc import Iterable, Sequence

VOID = {"img", "meta", "source"}
# Nothing may be loaded and no script may run, whatever the texts hold.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --ink: #24292f; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa;
  --link: #0550ae; --good: #11632a; --bad: #9a3a00; --mark: 213 94 0; --cell: 0 114 178; }
@media (prefers-color-scheme: dark) { :root { --back: #15191e; --ink: #d5dbe1; --soft: #9aa4af; --line: #3a424c;
  --card: #1d2229; --link: #79b8ff; --good: #56c98d; --bad: #ffa657; --mark: 210 95 10; --cell: 40 140 200; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 0 1rem 3rem; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1.5rem 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 48rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0; }
.soft, caption { color: var(--soft); font-size: .875rem; text-align: left; }
.scroll { overflow-x: auto; margin: .75rem 0; overflow-wrap: normal; }
table { border-collapse: collapse; min-width: min(100%, 22rem); font-size: .875rem;
  font-variant-numeric: tabular-nums; }
caption { padding-bottom: .25rem; }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  max-width: 22rem; overflow-wrap: break-word; }
th { font-weight: 600; }
td.number, th.number { text-align: right; padding: .25rem .4rem; }
.number { white-space: nowrap; }
th[scope=row] { min-width: 5.5rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem; }
.beside > * { min-width: 0; }
figure { margin: 0; max-width: 31rem; }
figure img { display: block; width: 100%; height: auto; }
figcaption { font-weight: 600; font-size: .875rem; padding-bottom: .25rem; }
summary { cursor: pointer; color: var(--link); font-size: .875rem; padding: .25rem 0; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .25rem 1rem .75rem;
  margin: 1rem 0; }
.text { max-width: none; line-height: 1.8; }
ul.checks { list-style: none; padding: 0; }
ul.checks li { display: flex; gap: .75rem; padding: .2rem 0; }
.verdict { flex: 0 0 3rem; font-weight: 700; color: var(--good); }
.warn .verdict { color: var(--bad); }
mark { color: inherit; background: none; border-radius: 3px; padding: .1em 0; }
.p1 { background: rgb(var(--mark) / .14); } .p2 { background: rgb(var(--mark) / .26); }
.p3 { background: rgb(var(--mark) / .38); } .p4 { background: rgb(var(--mark) / .5); }
.p5 { background: rgb(var(--mark) / .62); font-weight: 600; }
.c1 { background: rgb(var(--cell) / .1); } .c2 { background: rgb(var(--cell) / .2); }
.c3 { background: rgb(var(--cell) / .3); } .c4 { background: rgb(var(--cell) / .4); }
.c5 { background: rgb(var(--cell) / .5); }
del, ins { border-radius: 3px; padding: .1em .15em; text-decoration-thickness: 2px; }
del { background: rgb(var(--mark) / .2); } ins { background: rgb(var(--cell) / .3); font-weight: 600; }
"""


class Html(str):
    """Markup, not to be escaped again."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str) -> Html:
    """An element.

    Args:
        name: Of the element.
        children: Markup, or texts.
        attributes: By name, `class_` for `class` and `aria_label` for `aria-label`; False and "" are left out.

    Returns:
        The element.
    """
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items() if value
    )
    return Html(f"<{name}{named}>" if name in VOID else f"<{name}{named}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Parts one after another, those that are no markup escaped."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: bool = True, shades: str = ""
) -> Html:
    """A table whose first column names its rows, in a box that scrolls by itself where the page is narrow.

    Args:
        caption: What it says.
        columns: Heads of all columns; the first may be empty.
        rows: Cells, as many as there are columns.
        numeric: All columns but the first hold numbers.
        shades: A digit from 0 to 5 for each cell that is not a row's name, row by row: how strongly it is tinted.

    Returns:
        The table.
    """
    side = "number" if numeric else ""
    tints = (f"c{digit}" for digit in shades)
    head = [tag("th", name, scope="col", class_=side if i else "") for i, name in enumerate(columns)]
    if not columns[0]:
        head[0] = tag("td")
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, class_=f"{side} {next(tints, '')}".strip()) for cell in row[1:]),
        )
        for row in rows
    ]
    content = tag("table", tag("caption", caption), tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=caption)


def picture(light: bytes, dark: bytes, alt: str) -> Html:
    """A PNG in two versions, of which the reader's colour scheme chooses one."""
    return tag(
        "picture",
        tag("source", media="(prefers-color-scheme: dark)", srcset=_data_uri(dark)),
        tag("img", src=_data_uri(light), alt=alt),
    )


def beside(*parts: str) -> Html:
    """Parts side by side, or one below the other where the page is narrow."""
    return tag("div", *parts, class_="beside")


def details(summary: str, *content: str) -> Html:
    """What is shown when it is asked for."""
    return tag("details", tag("summary", summary), *content)


def document(title: str, lead: str, sections: Sequence[tuple[str, Html]], footer: str) -> Html:
    """A whole page.

    Args:
        title: Its heading.
        lead: What it is about.
        sections: Heading and content of each.
        footer: Its last line.

    Returns:
        The page.
    """
    links = [tag("li", tag("a", heading, href=f"#s{i}")) for i, (heading, _) in enumerate(sections)]
    parts = [
        tag("section", tag("h2", heading, id=f"s{i}"), content, aria_labelledby=f"s{i}")
        for i, (heading, content) in enumerate(sections)
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", lead), tag("nav", tag("ul", *links), aria_label="Contents")),
        tag("main", *parts),
        tag("footer", tag("p", footer, class_="soft")),
    )
    return Html(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n")


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
