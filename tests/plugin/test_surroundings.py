"""What fixtures and tools of a project do to its process, and what is left of it in a run."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from ..conftest import LIMIT_S, Suite


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_frozen_clock_is_not_ours(suite: Suite, kind: str) -> None:
    """Under freezegun a run takes the time that it should, and the workload sees its own time, which stands still."""
    pytest.importorskip("freezegun")
    suite.write(f"""
        import time
        import pytest
        from freezegun import freeze_time

        @pytest.fixture(autouse=True)
        def frozen():
            with freeze_time("2024-01-01"):
                yield

        @pytest.mark.stormdb(workers=2, duration="300ms", warmup="50ms", think_time="1ms")
        {kind} test_it(worker):
            {"await " * (kind != "def")}worker.conn.execute("SELECT pg_sleep(0.002)")
            assert time.gmtime().tm_year == 2024
    """)
    suite.run("--stormdb-json=runs.json", limit_s=60).assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert 0.3 <= run["elapsed_s"] < 30
    assert 10 < run["totals"]["operations"] < 300
    assert 0.002 <= run["totals"]["response"]["p50_s"] < 1


KILLED = """
    import os
    import signal
    import pytest

    @pytest.mark.stormdb(workers=2, iterations=5)
    def test_it(worker):
        worker.conn.execute("SELECT 1")

    @pytest.mark.stormdb(workers=2, iterations=5)
    def test_killed(worker):
        if worker.id == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_survives_that_sigchld_is_ignored(suite: Suite) -> None:
    """A fixture that ignores SIGCHLD, so that nobody hears how a child ended, costs neither results nor the name of a
    killed worker; afterwards it is ignored as before."""
    suite.write(
        KILLED,
        conftest="""
        import signal
        import pytest

        @pytest.fixture(autouse=True)
        def ignored():
            before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            yield
            assert signal.signal(signal.SIGCHLD, before) == signal.SIG_IGN
    """,
    )
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["worker 1 was killed by SIGKILL*"])
    assert suite.runs()[0]["totals"]["operations"] == 10


def test_a_child_that_somebody_else_reaps_is_gone(suite: Suite) -> None:
    """A handler of SIGCHLD that waits for every child takes the word of how ours ended, and nothing else."""
    suite.write(
        KILLED,
        conftest="""
        import contextlib
        import os
        import signal
        import pytest

        def reap(number, frame):
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass

        @pytest.fixture(autouse=True)
        def reaped():
            before = signal.signal(signal.SIGCHLD, reap)
            yield
            signal.signal(signal.SIGCHLD, before)
    """,
    )
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["worker 1 ended, and a handler of SIGCHLD took the word of how"])
    assert suite.runs()[0]["totals"]["operations"] == 10


def test_coverage_sees_what_workers_run(suite: Suite) -> None:
    """With ``patch = _exit`` the lines that only workers run are covered, in threads of a worker's process too; that
    they are traced is a finding."""
    pytest.importorskip("coverage", "7.10", reason="needs coverage 7.10, which has the patch _exit")
    suite.write(
        """
        import pytest
        from helper import work

        @pytest.mark.stormdb(workers=2, iterations=20, connect=False)
        @pytest.mark.parametrize("processes", [1, 2])
        def test_it(worker, processes):
            work(worker.id)
        """,
        helper="""
        def work(number):
            if number == 1:
                return "the second worker was here"
            return "the first worker was here"
        """,
        conftest="""
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.stormdb(processes=item.callspec.params["processes"]), append=False)
        """,
    )
    suite.ini("[run]\nparallel = true\npatch = _exit\ninclude = helper.py\n", ".coveragerc")
    command = [sys.executable, "-m", "coverage"]
    pytested = [*command, "run", "-m", "pytest", "-p", "stormdb", "--stormdb-json=runs.json"]
    subprocess.run(pytested, cwd=suite.path, check=True, timeout=LIMIT_S)
    subprocess.run([*command, "combine", "-q"], cwd=suite.path, check=True)
    subprocess.run([*command, "json", "-q"], cwd=suite.path, check=True)
    covered = json.loads((suite.path / "coverage.json").read_text())
    assert covered["files"]["helper.py"]["missing_lines"] == []
    for run in suite.runs():
        (finding,) = (text for text in run["validity"]["findings"] if "traced" in text)
        who = re.fullmatch(r"the workers' code was traced by (.+), which takes part of the measured time", finding)
        assert who is not None
        assert who[1] in ("coverage", "coverage.py")
        assert run["outcome"] == "passed"


@pytest.mark.parametrize(
    ("switched", "who"),
    [
        ("sys.settrace(look)", "looking"),
        ("sys.setprofile(look)", "looking"),
        ("threading.settrace(look)", "looking"),
        pytest.param(
            "sys.monitoring.use_tool_id(2, 'the profiler')",
            "the profiler",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring, of Python 3.12"),
        ),
    ],
)
def test_what_watches_the_workers_code_is_a_finding(suite: Suite, switched: str, who: str) -> None:
    """A tracer, a profiler and a tool of sys.monitoring, whoever switched it on, are named in the summary."""
    suite.write(
        f"""
        import sys
        import threading
        import pytest
        from looking import look

        @pytest.mark.stormdb(workers=2, processes=1, iterations=5, connect=False)
        def test_it(worker):
            pass

        {switched}
        """,
        looking="def look(frame, event, arg):\n    return None\n",
    )
    result = suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"  generator: the workers' code was traced by {who}, which takes part of*"])
