"""The live view, drawn on a terminal that only exists here."""

from __future__ import annotations

import dataclasses
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from pytest_stormdb.reports.live import LoadingView, View, block, line, loading_block, loading_line, sparkline

from .. import golden

VIEW = View(
    title="test_bank.py::test_transfer",
    phase="measuring",
    elapsed_s=24.2,
    remaining_s=35.8,
    fraction=0.403,
    operations=24_480,
    failures=14,
    p50_s=0.00402,
    p99_s=0.0204,
    rates_per_s=tuple(1000.0 + 20 * (second % 7) for second in range(24)),
)
LOADING = LoadingView("account", 1_200_000, 5.0, 5_000_000)


def drawn(what: RenderableType, width: int) -> str:
    """What a terminal of that width shows, without colours."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(what)
    file = console.file
    assert isinstance(file, io.StringIO)
    return "".join(f"{row.rstrip()}\n" for row in file.getvalue().splitlines())


@pytest.mark.parametrize("width", [80, 160])
def test_the_block_at_two_widths(width: int) -> None:
    """A run that is measured, one in warm-up, a comparison, and loading, as kept."""
    early = View("test_bank.py::test_transfer", "set-up", 1.0)
    comparison = dataclasses.replace(VIEW, failures=0, note="12 pairs, new is 17% slower [8, 27], undecided")
    shown = [drawn(block(view, width), width) for view in (VIEW, early, comparison)]
    golden.check(f"live_{width}.txt", "\n".join([*shown, drawn(loading_block(LOADING), width)]))


def test_lines() -> None:
    """Without a terminal the same facts are one line each."""
    assert line(VIEW) == (
        "test_bank.py::test_transfer: measuring 24 s, 36 s left, 1,040/s, p50 4.02 ms, p99 20.4 ms, errors 14 (0.0572%)"
    )
    assert line(View("t", "warm-up", 2.0)) == "t: warm-up 2 s, no operation yet"
    assert loading_line(LOADING) == "loading account: 1,200,000 of 5,000,000 rows, 16 s left, 240,000 rows/s"
    assert loading_line(LoadingView("account", 0, 0.0)) == "loading account: 0 rows, 0 rows/s"


def test_no_secret_is_drawn() -> None:
    """A title and a note may hold an address with its password; what is drawn does not."""
    secret = "postgresql://ann:S3cr3tPassword@db/shop"
    view = View(f"test_it[{secret}]", "measuring", 1.0, note=secret)
    loading = LoadingView(secret, 1, 1.0)
    shown = [drawn(block(view, 160), 160), drawn(loading_block(loading), 160), line(view), loading_line(loading)]
    assert [("S3cr3t" in text, "ann:***@db/shop" in text) for text in shown] == [(False, True)] * 4


def test_a_sparkline_shows_the_last_minute_from_zero() -> None:
    """The greatest value is the highest bar, zero the lowest, and of more than sixty values the last are shown."""
    assert sparkline([0, 50, 100]) == "▁▅█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([*[1000.0] * 10, *[1.0] * 60]) == "█" * 60


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        View,
        title=st.text(max_size=300),
        phase=st.sampled_from(["set-up", "warm-up", "measuring", "draining"]),
        elapsed_s=st.floats(0, 1e6),
        remaining_s=st.none() | st.floats(0, 1e6),
        fraction=st.none() | st.floats(0, 2),
        operations=st.integers(0, 10**12),
        failures=st.integers(0, 10**12),
        p50_s=st.none() | st.floats(0, 1e4),
        p99_s=st.none() | st.floats(0, 1e4),
        rates_per_s=st.lists(st.floats(0, 1e9)).map(tuple),
        note=st.text(max_size=300),
    ),
    st.integers(20, 300),
)
def test_a_block_is_never_wider_than_the_terminal_nor_higher_than_four_lines(view: View, width: int) -> None:
    """Whatever is shown, no line wraps: a wrapped line would be left behind when the block is drawn again."""
    rows = drawn(block(view, width), width).splitlines()
    assert len(rows) <= 4
    assert all(cell_len(row) <= width for row in rows)
