"""What the tests of packaged workloads share: a suite in a folder of its own, run in another process, and a server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psycopg
import pytest

import pytest_stormdb
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.packages.checksums import seal

ROOT = Path(pytest_stormdb.__file__).parents[1]
METADATA = "name: {name}\nversion: 1.0.0\n"
QUICK = """
import pytest

@pytest.mark.stormdb(iterations=2)
def test_one(worker):
    worker.conn.execute("SELECT 1")
"""


@dataclass(frozen=True)
class Ran:
    """A session of pytest that has ended, and what it left."""

    status: int
    text: str
    folder: Path
    counts: dict[str, int]

    @property
    def canaries(self) -> list[str]:
        """Which files ran, by the lines that they left, in order."""
        path = self.folder / "canary.txt"
        return path.read_text().split() if path.exists() else []

    @property
    def document(self) -> Any:
        return json.loads((self.folder / "run.json").read_text())

    @property
    def seen(self) -> Any:
        """What a workload wrote down of what it saw."""
        return json.loads((self.folder / "seen.json").read_text())

    @property
    def properties(self) -> dict[str, str]:
        """The properties of the first test case in the JUnit file."""
        case = ElementTree.parse(self.folder / "junit.xml").getroot().find(".//testcase")
        assert case is not None
        return {found.attrib["name"]: found.attrib["value"] for found in case.iter("property")}


class Suite:
    """A folder of tests and workloads."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.folder = pytester.path
        self.write("pytest.ini", "[pytest]\n")

    def write(self, path: str, content: str) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        return target

    def canary(self, name: str) -> str:
        """A line of code that leaves a line when it runs."""
        return f"with open({str(self.folder / 'canary.txt')!r}, 'a') as canary: canary.write({name + ' '!r})\n"

    def workload(self, path: str, files: dict[str, str] | None = None, **more: str) -> Path:
        """A packaged workload in a new folder; ``metadata`` adds lines to it. Not yet sealed."""
        folder = self.folder / path
        name = folder.name
        module = f"test_{name.replace('-', '_')}.py"
        metadata = METADATA.format(name=name) + more.get("metadata", "")
        for file, content in {f"{name}.yaml": metadata, module: more.get("module", QUICK), **(files or {})}.items():
            self.write(f"{path}/{file}", content)
        return folder

    def sealed(self, path: str, files: dict[str, str] | None = None, **more: str) -> Path:
        folder = self.workload(path, files, **more)
        seal(folder)
        return folder

    def run(self, *arguments: str | Path, timeout: float = 60) -> Ran:
        """Run pytest on the folder in another process, with a JSON and a JUnit file."""
        options = ["-p", "stormdb", "-W", "error", "--stormdb-json=run.json", "--junit-xml=junit.xml"]
        result = self.pytester.runpytest_subprocess(*options, *map(str, arguments), timeout=timeout)
        text = f"{result.stdout.str()}\n{result.stderr.str()}"
        counts = {} if result.ret not in (0, 1, 2) else result.parseoutcomes()
        return Ran(int(result.ret), text, self.folder, counts)


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """An empty suite; other plugins than ours are off, so that a session starts in a third of a second."""
    for name in (
        "DATABASE_URL",
        "STORMDB_DSN",
        "PYTEST_ADDOPTS",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",  # on which this project's own conftest would stand before those of the suite
        "PYTHONPYCACHEPREFIX",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return Suite(pytester)


@pytest.fixture
def database(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    """An empty database that the suite's sessions find by STORMDB_DSN; a connection to it."""
    name = f"test_{os.getpid()}"
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        strategy = "STRATEGY wal_log" if admin.info.server_version >= 150_000 else ""
        admin.execute(f"CREATE DATABASE {name} {strategy}")
        dsn = f"{server.dsn} dbname={name}"
        monkeypatch.setenv("STORMDB_DSN", dsn)
        with psycopg.connect(dsn, autocommit=True, application_name="stormdb test") as conn:
            yield conn
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
