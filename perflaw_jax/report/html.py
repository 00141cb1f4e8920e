"""Pieces of HTML: whatever is not markup of ours goes through ``text``."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def text(value: Any) -> str:
    """Anything as text that a browser shows as it is, in an attribute too."""
    return html.escape(str(value), quote=True)


def attributes(**values: Any) -> str:
    """Attributes of an element; of a name a ``_`` at its end is dropped, another becomes ``-``."""
    return "".join(f' {name.rstrip("_").replace("_", "-")}="{text(value)}"' for name, value in values.items())


def tag(name: str, *markup: str, **values: Any) -> str:
    """An element around markup, with attributes.

    >>> tag("p", text("a < b"), class_="quiet", data_value='"')
    '<p class="quiet" data-value="&quot;">a &lt; b</p>'
    """
    return f"<{name}{attributes(**values)}>{''.join(markup)}</{name}>"


def paragraph(words: str, **values: str) -> str:
    """A paragraph of plain text; nothing for no words."""
    return tag("p", text(words), **values) if words else ""


def section(name: str, title: str, *markup: str) -> str:
    """A section with its heading, to which the table of contents leads."""
    return tag("section", tag("h2", text(title), id=f"{name}-title"), *markup, id=name, aria_labelledby=f"{name}-title")


def left_out(why: str) -> str:
    """A part that is missing, and why."""
    return paragraph(f"Left out: {why.removesuffix('.')}.", class_="missing")


def chart(name: str, told: str, height: int, caption: str = "", title: str = "", box: str = "") -> str:
    """The place of a chart: ``told`` is what it shows, for who does not see it."""
    own = box or f"chart-{name}"
    place = tag("div", class_="chart", id=own, data_chart=name, role="img", aria_label=told, style=f"min-height:{height}px")
    head = tag("h3", text(title)) if title else ""
    return tag("figure", head, place, tag("figcaption", text(caption), id=f"{own}-caption"))


def table(name: str, columns: Mapping[str, tuple[Sequence[Any], Sequence[str]]], caption: str) -> str:
    """A table that can be sorted and scrolls in a box of its own: name -> (values to sort by, text) per row."""
    heads = [tag("th", tag("button", text(title), type="button"), scope="col") for title in columns]
    rows = zip(*(zip(*column, strict=True) for column in columns.values()), strict=True)
    body = [tag("tr", *(tag("td", text(shown), data_value=value) for value, shown in cells)) for cells in rows]
    head = tag("thead", tag("tr", *heads))
    return _scrolling(caption, f'<table id="{text(name)}" data-sortable>{head}{tag("tbody", *body)}</table>')


def facts(caption: str, rows: Iterable[tuple[str, Sequence[Any]]], heads: Sequence[str] = (), **cell: str) -> str:
    """A plain table of names and their values; ``cell`` are attributes of the values' cells."""
    head = tag("thead", tag("tr", *(tag("th", text(h), scope="col") for h in heads))) if heads else ""
    body = [
        tag("tr", tag("th", text(name), scope="row", class_="text"), *(tag("td", text(v), **cell) for v in values))
        for name, values in rows
    ]
    return _scrolling(caption, tag("table", head, tag("tbody", *body)))


def _scrolling(caption: str, markup: str) -> str:
    return tag("div", markup, class_="scroll", role="region", aria_label=caption, tabindex="0")


def script(source: str) -> tuple[str, str]:
    """A script of ours, and what a policy names to let it run."""
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"<script>{source}</script>", f"'sha256-{digest}'"


def data(name: str, json_text: str) -> str:
    """JSON in a page: no text in it can end the element."""
    safe = json_text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{text(name)}">{safe}</script>'
