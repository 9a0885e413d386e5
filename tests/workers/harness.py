"""What the engine's tests share: a run in this process, and a whole pytest session in a process of its own."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

import pytest_stormdb
from pytest_stormdb.database.connect import Dsn
from pytest_stormdb.database.isolation import Home
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.record import RunRecord
from pytest_stormdb.run.pipeline import run
from pytest_stormdb.verdict.threshold import Threshold
from pytest_stormdb.workers.launcher import Launcher
from pytest_stormdb.workers.local import pick_launcher
from pytest_stormdb.workers.runtime import Job
from pytest_stormdb.workload.contract import Operation, WorkerPlaceholder, Workload

ROOT = Path(pytest_stormdb.__file__).parents[1]


def load(
    function: Callable[..., Any],
    dsn: str,
    *,
    thresholds: Sequence[Threshold] = (),
    arguments: Mapping[str, object] | None = None,
    workload: Mapping[str, Any] | None = None,
    launcher: Callable[[Job], Launcher] = pick_launcher,
    watched_from: str | None = None,
    **options: Any,
) -> RunRecord:
    """Run a function under load in this process's own workers; ``arguments`` as fixtures would give them.

    ``watched_from`` leads to another database, so that what watches the server does not count as load.
    """
    values = {"worker": WorkerPlaceholder(), **(arguments or {})}
    operation = Operation(function.__name__, function, tuple(values))
    made = Workload(
        name="test",
        nodeid=function.__name__,
        operations=(operation,),
        arguments=values,
        is_async=inspect.iscoroutinefunction(function),
        **(workload or {}),
    )
    plan = make_plan(("test", {name: value for name, value in options.items() if value is not None}))
    home = dataclasses.replace(Home.at(dsn), target=Dsn(watched_from or dsn))
    return run(made, plan, home, embedded=True, thresholds=thresholds, launcher=launcher)


def errors_of(record: RunRecord) -> dict[str, int]:
    """How often each code occurred in a run."""
    return {code: count for code, (count, _) in record.statistics.total.tally.errors.items()}


def within(seconds: float, condition: Callable[[], object]) -> bool:
    """Whether a condition comes to hold in that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def sessions(dsn: str) -> list[str]:
    """The names of our sessions on a server."""
    with psycopg.connect(dsn, autocommit=True, application_name="observer") as conn:
        rows = conn.execute("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'stormdb%'")
        return [str(name) for (name,) in rows]


@dataclass
class Ended:
    """What a session left: its exit status, its output, and the first run of its JSON report."""

    status: int
    output: str
    elapsed_s: float
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> dict[str, int]:
        """How often each code occurred, over all operations."""
        found: dict[str, int] = {}
        for operation in self.run["operations"].values():
            for error in operation["errors"]:
                found[error["code"]] = found.get(error["code"], 0) + error["count"]
        return found

    @property
    def reasons(self) -> str:
        return "\n".join(self.run["reasons"])


class Session:
    """A pytest session in a process session of its own, so that all it ever forked can be found."""

    def __init__(self, directory: Path, source: str, *options: str, dsn: str | None, conftest: str = "") -> None:
        self._directory = directory
        (directory / "test_it.py").write_text("import pytest\n" + textwrap.dedent(source))
        (directory / "conftest.py").write_text(textwrap.dedent(conftest))
        (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "stormdb",
            "-p",
            "no:cacheprovider",
            "--stormdb-json=run.json",
            *options,
        ]
        if dsn is not None:
            command.append(f"--stormdb-dsn={dsn}")
        self.began_s = time.monotonic()
        self._output = (directory / "output.txt").open("wb")
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            },
        )

    def processes(self) -> dict[int, int]:
        """Every living process of the session, with its parent; a zombie is dead."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(session) == self.process.pid and state != "Z":
                found[int(stat.parent.name)] = int(parent)
        return found

    def workers(self) -> list[int]:
        """The processes of its workers, in the order they were forked."""
        return sorted(pid for pid, parent in self.processes().items() if parent == self.process.pid)

    def wait_for(self, text: str, limit_s: float = 30) -> None:
        """Wait until a workload has written a file of that name into its directory."""
        path = self._directory / text
        assert within(limit_s, path.exists), f"no {text}: {self.output}"

    @property
    def output(self) -> str:
        return (self._directory / "output.txt").read_text(errors="replace")

    def end(self, limit_s: float) -> Ended:
        """Wait for its end, which must come in time."""
        began_s = time.monotonic()
        try:
            status = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {limit_s} s: {self.output}") from None
        finally:
            self._output.close()
        report = self._directory / "run.json"
        runs = json.loads(report.read_text())["runs"] if report.exists() else []
        return Ended(status, self.output, time.monotonic() - began_s, runs[0] if runs else {})

    def kill(self) -> None:
        """End everything of it."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def left_nothing(self, dsn: str | None = None) -> bool:
        """Whether neither a process nor a session on the server remains, three seconds being allowed for it."""
        return within(3, lambda: not self.processes()) and (dsn is None or within(3, lambda: not sessions(dsn)))
