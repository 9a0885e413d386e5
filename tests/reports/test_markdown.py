"""Markdown, letter by letter, and that names cannot break out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.reports.markdown import append, markdown, plain, write

from .. import golden
from .documents import full_document, long_run


def test_a_document_with_everything() -> None:
    """Heading, runs, comparisons, reasons, thresholds and surroundings, as kept."""
    golden.check("everything.md", markdown(full_document()))


def test_expected_aborts_are_shown() -> None:
    """By reason, apart from failures."""
    assert "| test_bank.py::test_transfer | test_transfer | insufficient funds | 321 |" in markdown(full_document())


def test_a_document_without_runs() -> None:
    """Nothing ran: one line."""
    assert markdown({"format": "stormdb-run/1", "runs": []}) == "## stormdb: no runs\n"


def test_of_many_runs_the_worst_are_shown() -> None:
    """Beyond 200 runs the rest is counted; the failed ones are among those shown."""
    fine = long_run(2) | {"outcome": "passed", "reasons": [], "thresholds": [], "metrics": {}, "operations": {}}
    text = markdown({"runs": [fine] * 300 + [long_run(2, "test_bad.py::test_it") | {"metrics": {}, "operations": {}}]})
    assert text.count("\n| ") == 200 + 2 + 2 + 2
    assert "… and 101 more, none of them worse than these." in text
    assert text.index("test_bad.py") < text.index("test_bank.py")


def test_long_lists_of_reasons_are_cut() -> None:
    """Five reasons of a run are shown, the rest is counted."""
    text = markdown({"runs": [long_run(2) | {"reasons": [f"reason {n}" for n in range(9)], "thresholds": []}]})
    assert "- reason 4\n- … and 4 more\n" in text
    assert "reason 5" not in text


@pytest.mark.parametrize("name", ["a|b", "<b>x</b>", "[x](y)", "a\nb", "`x`", "<!--", "@someone", "~~x~~"])
def test_names_are_text(name: str) -> None:
    """A name with marks of Markdown or HTML stays one cell of the table."""
    (row,) = [line for line in markdown({"runs": [long_run(2, name)]}).splitlines() if line.startswith("| ❌ |")][:1]
    cells = row.replace("\\|", "").split(" | ")
    assert len(cells) == 10
    assert "<" not in row


@given(st.text())
def test_plain_text_is_one_line_without_marks(value: str) -> None:
    """Every mark that Markdown knows is escaped, HTML's are entities, and lines are joined."""
    shown = plain(value)
    assert len(shown.splitlines()) <= 1
    assert not set('<>"') & set(shown)
    assert all(shown[i - 1] == "\\" or character not in "|`*[" for i, character in enumerate(shown))


def test_it_is_written_or_added(tmp_path: Path) -> None:
    """A file of its own is replaced; a summary that other steps write to is added to."""
    out = tmp_path / "summary.md"
    write(full_document(), out)
    write(full_document(), out)
    once = out.read_text(encoding="utf-8")
    append(full_document(), out)
    assert out.read_text(encoding="utf-8") == f"{once}{once}\n"
