"""What a run in progress looks like: a block that is drawn over and over on a terminal, and one line elsewhere.

Pure functions of facts. Nothing here waits, starts a thread or knows the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..redaction import redacted
from ..units import format_count, format_duration, format_rate, format_ratio
from .shown import on_one_line

_BARS = "▁▂▃▄▅▆▇█"
_SECONDS_SHOWN = 60


@dataclass(frozen=True, slots=True)
class View:
    """A run in progress. ``fraction`` is how much of it is done (0 to 1), ``remaining_s`` what is left, None if
    unknown.

    ``rates_per_s`` are the operations of each second, the last one last; ``p50_s`` and ``p99_s`` are of that one.
    ``note`` is a comparison's news: pairs, estimate, verdict so far.
    """

    title: str
    phase: str
    elapsed_s: float
    remaining_s: float | None = None
    fraction: float | None = None
    operations: int = 0
    failures: int = 0
    p50_s: float | None = None
    p99_s: float | None = None
    rates_per_s: tuple[float, ...] = ()
    note: str = ""

    @property
    def rate_per_s(self) -> float | None:
        return self.rates_per_s[-1] if self.rates_per_s else None


@dataclass(frozen=True, slots=True)
class LoadingView:
    """Data being loaded: rows so far, of how many where that is known."""

    title: str
    rows: int
    elapsed_s: float
    total: int | None = None

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def remaining_s(self) -> float | None:
        if self.total is None or not self.rows or self.rows > self.total:
            return None
        return (self.total - self.rows) / self.rows_per_s


def sparkline(values: Sequence[float], width: int = _SECONDS_SHOWN) -> str:
    """The last values as bars between zero and the greatest of them; an empty text for none."""
    shown = values[-width:]
    most = max(shown, default=0.0)
    if most <= 0:
        return _BARS[0] * len(shown)
    return "".join(_BARS[min(len(_BARS) - 1, int(value / most * len(_BARS)))] for value in shown)


def block(view: View, width: int) -> RenderableType:
    """Three lines for a terminal of that many columns; four with a note."""
    head = _sides(Text(_shown(view.title), "bold", overflow="ellipsis", no_wrap=True), Text(view.phase, "cyan"))
    lines: list[RenderableType] = [head, _bar(view.fraction, _clock(view)), _numbers(view, width)]
    return Group(*lines, *([Text(_shown(view.note), "yellow", overflow="ellipsis", no_wrap=True)] if view.note else []))


def loading_block(view: LoadingView) -> RenderableType:
    """Two lines: what is loaded and how fast, and a bar."""
    left = Text(f"loading {_shown(view.title)}", "bold", overflow="ellipsis", no_wrap=True)
    fraction = None if view.total is None else view.rows / view.total if view.total else 1.0
    return Group(
        _sides(left, Text(f"{format_rate(view.rows_per_s).removesuffix('/s')} rows/s")), _bar(fraction, _rows(view))
    )


def line(view: View) -> str:
    """The same on one line, without colours."""
    parts = [f"{view.phase} {_clock(view)}", *_figures(view), *([_shown(view.note)] if view.note else [])]
    return f"{_shown(view.title)}: {', '.join(parts)}"


def loading_line(view: LoadingView) -> str:
    """The same on one line."""
    return f"loading {_shown(view.title)}: {_rows(view)}, {format_rate(view.rows_per_s).removesuffix('/s')} rows/s"


def _shown(text: str) -> str:
    """On one line, and without secrets: it is drawn past pytest's own writer, which would hide them."""
    return redacted(on_one_line(text))


def _sides(left: Text, right: Text) -> Table:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, right)
    return grid


def _bar(fraction: float | None, beside: str) -> Table:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    total = None if fraction is None else 1.0
    grid.add_row(ProgressBar(total, min(fraction or 0.0, 1.0), finished_style="bar.complete"), beside)
    return grid


def _numbers(view: View, width: int) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    figures = "   ".join(_figures(view))
    text.append(figures, "red" if view.failures else "")
    room = width - len(figures) - 3
    if room >= 10 and view.rates_per_s:
        text.append(f"   {sparkline(view.rates_per_s, min(room, _SECONDS_SHOWN))}", "cyan")
    return text


def _figures(view: View) -> list[str]:
    total = view.operations + view.failures
    errors = f"errors {format_count(view.failures)}"
    if view.failures:
        errors += f" ({format_ratio(view.failures / total)})"
    latencies = []
    if view.p50_s is not None:
        latencies = [f"p50 {format_duration(view.p50_s)}", f"p99 {format_duration(view.p99_s)}"]
    return [format_rate(view.rate_per_s), *latencies, errors] if total else ["no operation yet"]


def _clock(view: View) -> str:
    elapsed = f"{view.elapsed_s:.0f} s"
    return elapsed if view.remaining_s is None else f"{elapsed}, {view.remaining_s:.0f} s left"


def _rows(view: LoadingView) -> str:
    rows = format_count(view.rows) if view.total is None else f"{format_count(view.rows)} of {format_count(view.total)}"
    return f"{rows} rows" if view.remaining_s is None else f"{rows} rows, {view.remaining_s:.0f} s left"
