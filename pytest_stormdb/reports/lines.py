"""Lines of a terminal: their width, their signs, and what kind of news each is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from .columns import columns
from .shown import visible

Tone = Literal["plain", "good", "bad", "doubtful", "strong"]

UNICODE = "✔✘█"
"""What a terminal must be able to show; else there are letters."""
TONES: Mapping[str, Tone] = {
    "passed": "good",
    "failed": "bad",
    "error": "bad",
    "inconclusive": "doubtful",
    "invalid": "doubtful",
}
"""What kind of news an outcome is."""
_SIGNS: Mapping[Tone, tuple[str, str]] = {"good": ("✔", "+"), "bad": ("✘", "x"), "doubtful": ("?", "?")}
_NARROWEST = 40


class Line(NamedTuple):
    """A line of the report; ``tone`` says what kind of news it is."""

    text: str
    tone: Tone = "plain"


class Style(NamedTuple):
    """How wide lines are, and with which signs."""

    width: int = 80
    ascii_only: bool = False

    def sign(self, outcome: str) -> str:
        """A tick, a cross or a question mark."""
        return _SIGNS[TONES[outcome]][self.ascii_only]

    @property
    def bar(self) -> str:
        """What a bar is made of."""
        return "#" if self.ascii_only else "█"

    def wrapped(self, text: str, tone: Tone = "plain", indent: int = 2) -> Iterator[Line]:
        """A text on as many lines as it takes; those after the first are indented further."""
        lines = textwrap.wrap(
            visible(text),
            max(self.width, _NARROWEST),
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + 2),
            break_on_hyphens=False,
        )
        yield from (Line(line, tone) for line in lines)

    def rows(self, header: Sequence[str], rows: Sequence[Sequence[str]], tones: Sequence[Tone]) -> Iterator[Line]:
        """A table; each row has its tone."""
        for texts, tone in zip(columns([header, *rows], self.width), ["plain", *tones], strict=True):
            yield from (Line(text, tone) for text in texts)
