"""Sessions kept, and laid beside each other."""

from __future__ import annotations

from ..conftest import Suite

WORKLOAD = """
    import pytest

    @pytest.mark.stormdb(iterations=30)
    def test_it(worker):
        worker.conn.execute("SELECT 1")
"""


def test_sessions_are_saved_and_compared(suite: Suite) -> None:
    """Two kept sessions are beside the third, with what could be seen; a table for Otava grows by a line each."""
    suite.write(WORKLOAD)
    for number in (1, 2):
        suite.run("--stormdb-save=main").stdout.fnmatch_lines([f"saved as .stormdb/main/00000{number}.json"])
    result = suite.run("--stormdb-compare=main")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it: 2 earlier runs like it under 'main'"])
    result.stdout.fnmatch_lines(["  p50 *; an increase of *% could be seen, from 2 of the 10 runs it takes to tell"])
    assert len((suite.path / ".stormdb/main/test_it.py_test_it.csv").read_text().splitlines()) == 3
    other = suite.run("--stormdb-compare=main", "--stormdb-workers=2")
    other.stdout.fnmatch_lines(["  not compared with 2 that were made otherwise: workers 1 -> 2*"])


def test_a_damaged_record_is_told(suite: Suite) -> None:
    """What cannot be read costs the comparison and the exit status, and nothing else."""
    suite.write(WORKLOAD)
    suite.run("--stormdb-save=main")
    (suite.path / ".stormdb/main/000001.json").write_text("{")
    result = suite.run("--stormdb-compare=main")
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["ERROR: --stormdb-save: *000001.json: is no JSON: *"])


def test_a_name_stays_in_its_folder(suite: Suite) -> None:
    """A name that leads elsewhere is a usage error."""
    result = suite.run("--stormdb-save=../elsewhere")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *'../elsewhere' is no name of letters, digits, dots, dashes and underscores"])
