"""HTML put together from elements. Text is escaped unless it was made here, so no value can become markup."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from .shown import visible

_LEAVES = ("meta", "col", "br")


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


Child = str | None


def text(value: object) -> Markup:
    """A value as escaped text; what cannot be seen is shown as a replacement character."""
    return value if isinstance(value, Markup) else Markup(html.escape(visible(str(value))))


def element(name: str, /, *children: Child, **attributes: str | bool | None) -> Markup:
    """An element with children in it; ``class_`` is the attribute class, ``data_x`` is data-x, None is left out."""
    begin = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _LEAVES:
        return Markup(f"<{begin}>")
    return Markup(f"<{begin}>{joined(children)}</{name}>")


def joined(children: Iterable[Child]) -> Markup:
    """All of them in a row."""
    return Markup("".join(text(child) for child in children if child is not None))


def _attribute(key: str, value: str | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def table(header: Sequence[str], rows: Iterable[Sequence[Child]], *, left: int = 1) -> Markup:
    """A table in a box that scrolls by itself; the first ``left`` columns are text, the others numbers."""
    head = element("tr", *(element("th", name, scope="col", class_=_side(i, left)) for i, name in enumerate(header)))
    body = [element("tr", *(element("td", cell, class_=_side(i, left)) for i, cell in enumerate(row))) for row in rows]
    whole = element("table", element("thead", head), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex="0")


def _side(index: int, left: int) -> str | None:
    return None if index < left else "number"


def data(identity: str, value: Any) -> Markup:
    """A value for the page's script, as JSON in which nothing can end the element."""
    written = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{text(identity)}">{written}</script>')
