"""Under pytest-xdist a workload is not measured: it runs once, and one line says how to run it instead."""

from __future__ import annotations

import re

from ..conftest import Suite

TWO = """
    import pytest

    @pytest.fixture(scope="module")
    def table(stormdb_connection):
        stormdb_connection.execute("CREATE TABLE t (i int)")

    @pytest.mark.stormdb(duration="1h", workers=50)
    @pytest.mark.stormdb_slo("max < 1ns")
    @pytest.mark.parametrize("n", range(4))
    def test_load(worker, table, n):
        worker.conn.execute("INSERT INTO t VALUES (%s)", [n])

    def test_plain():
        pass
"""


def test_workloads_run_once_under_xdist(suite: Suite) -> None:
    """Two processes share one server and disturb nobody; nothing is measured or judged; the printed command works."""
    suite.write(TWO)
    result = suite.run("-n2", "--stormdb-json=runs.json", plugins=("stormdb", "xdist"))
    result.assert_outcomes(passed=5)
    assert suite.runs() == []
    line = next(line for line in result.outlines if "not measured" in line)
    assert line.startswith("4 workloads ran once, not measured: load tests disturb each other under pytest-xdist;")
    command = re.search(r"run them apart: pytest (.*)", line)
    assert command is not None
    options = [*re.findall(r'"[^"]*"|\S+', command[1]), "--stormdb-iterations=1", "--stormdb-workers=2"]
    apart = suite.run(*options, "--stormdb-slo=max < 1h", "--stormdb-json=runs.json", plugins=("stormdb", "xdist"))
    apart.assert_outcomes(passed=4, deselected=1)
    assert len(suite.runs()) == 4


def test_a_workload_that_fails_under_xdist_fails(suite: Suite) -> None:
    """Running once is a test all the same."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(duration="1h")
        def test_load(worker):
            assert worker.conn.execute("SELECT 1").fetchone() == (2,)
    """)
    result = suite.run("-n1", plugins=("stormdb", "xdist"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E       assert (1,) == (2,)*", "1 workload ran once, not measured: *"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_one_process_is_no_distribution(suite: Suite) -> None:
    """With ``-n0`` workloads are measured as ever."""
    suite.write(TWO)
    options = ("-n0", "--stormdb-iterations=1", "--stormdb-workers=1", "--stormdb-slo=max < 1h")
    result = suite.run(*options, "--stormdb-json=runs.json", plugins=("stormdb", "xdist"))
    result.assert_outcomes(passed=5)
    assert len(suite.runs()) == 4
