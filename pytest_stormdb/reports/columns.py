"""Rows of text in aligned columns, as wide as a terminal at most."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "  "
_LEAST = 8


def columns(rows: Sequence[Sequence[str]], width: int, *, indent: int = 2, left: int = 1) -> list[tuple[str, ...]]:
    """The lines of each row: the first ``left`` columns begin on the left, the others end on the right.

    A row has one line. It has two where there is no room for its first cell, which then stands above the others.
    """
    if not rows:
        return []
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    room = max(_LEAST, width - indent - sum(len(_GAP) + each for each in widths[1:]))
    widths[0] = max((len(row[0]) for row in rows if len(row[0]) <= room), default=0)
    return [_lines(row, widths, " " * indent, left) for row in rows]


def _lines(row: Sequence[str], widths: Sequence[int], margin: str, left: int) -> tuple[str, ...]:
    cells = [cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
    if len(row[0]) <= widths[0]:
        return ((margin + _GAP.join(cells)).rstrip(),)
    return margin + row[0], (margin + _GAP.join([" " * widths[0], *cells[1:]])).rstrip()
