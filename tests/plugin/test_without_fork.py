"""A system that cannot fork: workers are threads, and the report says so."""

from __future__ import annotations

from ..conftest import Suite


def test_threads_where_there_is_no_fork(suite: Suite) -> None:
    """Every iteration of every worker is counted, all in one process, and summary and record name the threads."""
    suite.write(
        """
        import pytest

        @pytest.mark.stormdb(workers=3, iterations=20)
        def test_it(worker):
            worker.conn.execute("SELECT 1")
        """,
        no_fork="import os\ndel os.fork\n",
    )
    suite.env.setenv("PYTHONPATH", str(suite.path), prepend=":")
    result = suite.run("--stormdb-json=runs.json", plugins=("no_fork", "stormdb"))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*threads: this system cannot fork, so the interpreter lock is in the latency"])
    (run,) = suite.runs()
    assert (run["forked"], run["plan"]["layout"], run["totals"]["operations"]) == (False, [3], 60)
