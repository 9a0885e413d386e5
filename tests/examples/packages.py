"""Packaged workloads of the gallery, copied to where nothing else is, and run there."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pytest_stormdb.embedded.server import EmbeddedServer
from tests.conftest import Suite

GALLERY = Path(__file__).parents[2] / "example_workloads"
MODELS = {"simple": "Simple", "vector": "Vector", "connection": "Connections", "bulk_insert": "BulkInsert"}

_CHECKSUMS = """
import json
import pathlib

import pytest
from psycopg import sql

TABLES = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
CHECKSUM = sql.SQL("SELECT count(*), md5(coalesce(string_agg(t::text, E'\\\\n' ORDER BY t::text), '')) FROM {{}} t")


@pytest.fixture(scope="module", autouse=True)
def checksums(request, stormdb_connection):
    request.getfixturevalue({fixture!r})
    tables = [name for (name,) in stormdb_connection.execute(TABLES).fetchall()]
    found = {{name: stormdb_connection.execute(CHECKSUM.format(sql.Identifier(name))).fetchone() for name in tables}}
    pathlib.Path(__file__).with_name("checksums.json").write_text(json.dumps(found))
"""


class Package:
    """A copy of a workload beside an otherwise empty suite."""

    def __init__(self, name: str, suite: Suite) -> None:
        self.name = name
        self.suite = suite
        self.folder = suite.path / name
        if not self.folder.exists():
            shutil.copytree(GALLERY / name, self.folder, ignore=shutil.ignore_patterns("__pycache__"))

    def load_test(self, *options: str, passed: int) -> dict[str, dict[str, Any]]:
        """Run it under a short load, which all tests must pass without a failed operation; the runs by test."""
        short = ("--stormdb-workers=3", "--stormdb-duration=300ms", "--stormdb-warmup=0s", "--stormdb-json=runs.json")
        result = self.suite.run(self.name, *short, *options)
        result.assert_outcomes(passed=passed)
        runs = {str(run["nodeid"]).rpartition("::")[2]: run for run in self.suite.runs()}
        for run in runs.values():
            assert run["totals"]["failures"] == 0
            assert run["totals"]["operations"] > 0
            assert run["outcome"] == "passed"
            assert run["health"]
            assert all(check["ok"] for check in run["health"])
        return runs

    def checksums(self, fixture: str, test: str, *options: str) -> dict[str, list[Any]]:
        """Rows and checksum of each table, as ``fixture`` loads them; ``test`` is one that asks for it."""
        self.suite.write(conftest=_CHECKSUMS.format(fixture=fixture))
        result = self.suite.run(self.name, "--stormdb-smoke", "-k", test, *options)
        result.assert_outcomes(passed=1, deselected=result.parseoutcomes().get("deselected", 0))
        found: dict[str, list[Any]] = json.loads((self.suite.path / "checksums.json").read_text(encoding="utf-8"))
        return found


Connection = psycopg.Connection[Any]


def connected(dsn: str) -> Connection:
    return psycopg.connect(dsn, autocommit=True)


@contextmanager
def empty_database(server: EmbeddedServer, name: str) -> Iterator[Connection]:
    """A database of its own, so that nothing is left for others to find, such as an extension."""
    with connected(server.dsn) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with connected(f"{server.dsn} dbname={name}") as conn:
            yield conn
        admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def module_beside(folder: Path, name: str) -> Any:
    """One of a workload's own modules, found as pytest finds it: in the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return importlib.import_module(name)


def params(**values: object) -> list[str]:
    """Parameters of a workload, as options."""
    return [f"--stormdb-param={name}={value}" for name, value in values.items()]


def module_of(name: str) -> Any:
    """The workload's module, imported for itself."""
    spec = importlib.util.spec_from_file_location(f"gallery_{name}", GALLERY / name / f"test_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def model_of(name: str) -> Any:
    """The workload's class of parameters."""
    return getattr(module_of(name), MODELS[name])
