"""One embedded server for all tests, and suites of their own that run against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
from hypothesis import settings

import pytest_stormdb
from pytest_stormdb.embedded.server import EmbeddedServer

pytest.register_assert_rewrite("tests.golden")  # its differences are to be read
settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

settings.register_profile("stormdb", deadline=None)  # these machines are noisy, and time is no verdict here
settings.load_profile("stormdb")

ROOT = Path(pytest_stormdb.__file__).parents[1]
LIMIT_S = 90.0


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """One server for the whole session; inner runs are sent to it, so that they need not start one each.

    Its programs are those in STORMDB_TEST_BIN_DIR, where that is set: so every PostgreSQL can be tried.
    """
    bin_dir = os.environ.get("STORMDB_TEST_BIN_DIR")
    with EmbeddedServer.start(max_connections=100, bin_dir=Path(bin_dir) if bin_dir else None) as running:
        yield running


@pytest.fixture(scope="session")
def dsn(server: EmbeddedServer) -> str:
    """Where that server is."""
    return server.dsn


@pytest.fixture(scope="session")
def database(server: EmbeddedServer) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection to that server, to see what a run left."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        yield connection


class Suite:
    """A test suite in a directory of its own, run by a pytest of its own."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = pytester.path
        self.env = monkeypatch
        self._pytester = pytester

    def write(self, text: str = "", **files: str) -> None:
        """Write ``test_it.py``, and other Python files by their names."""
        if text:
            files["test_it"] = text
        for name, content in files.items():
            (self.path / f"{name}.py").write_text(dedent(content).lstrip("\n"), encoding="utf-8")

    def ini(self, text: str, name: str = "pytest.ini") -> None:
        """Write a configuration file."""
        (self.path / name).write_text(dedent(text).lstrip("\n"), encoding="utf-8")

    def run(
        self,
        *options: str,
        plugins: tuple[str, ...] = ("stormdb",),
        stdin: bytes | None = None,
        warnings: str = "error",
        limit_s: float = LIMIT_S,
        keeps_cache: bool = False,
    ) -> pytest.RunResult:
        """Run pytest with these plugins; no other is loaded, which saves half a second. Warnings are errors."""
        loaded = [word for name in plugins for word in ("-p", name)]
        loaded += [] if keeps_cache else ["-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", "-W", warnings, *loaded, *options]
        given: Any = subprocess.DEVNULL if stdin is None else stdin
        return self._pytester.run(*command, timeout=limit_s, stdin=given)

    def runs(self, name: str = "runs.json") -> list[dict[str, Any]]:
        """The runs of the JSON report."""
        document: Mapping[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        assert document["format"] == "stormdb-run/1"
        return list(document["runs"])


@pytest.fixture
def offline_suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite that starts a server of its own if it needs one."""
    for name in (
        "STORMDB_DSN",
        "DATABASE_URL",
        "PYTEST_ADDOPTS",
        "PYTEST_XDIST_WORKER",
        "CI",
        "GITHUB_ACTIONS",
        "PYTHONDONTWRITEBYTECODE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return Suite(pytester, monkeypatch)


@pytest.fixture
def suite(offline_suite: Suite, server: EmbeddedServer) -> Suite:
    """A suite whose workloads go to the session's server."""
    offline_suite.env.setenv("STORMDB_DSN", server.dsn)
    return offline_suite
