"""The packaged workload that `stormdb new` writes: small, and good to start from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import PlanError
from .metadata import is_name, main_module_of

_METADATA = """\
name: NAME
version: 0.1.0
description: Reads one row at a time by its primary key
dependencies:
  - pydantic: ">=2.7"
  - postgresql: ">=14"
tags:
  - postgresql
  - read-only
"""

_MODULE = '''\
"""NAME: reads one row at a time by its primary key."""

import pytest
from pydantic import BaseModel, Field


class Parameters(BaseModel, extra="forbid"):
    """What a configuration file may set under `parameters`."""

    rows: int = Field(10_000, ge=1, le=10_000_000, description="rows in the table")


@pytest.fixture(scope="module")
def parameters(stormdb_parameters):
    return stormdb_parameters(Parameters)


@pytest.fixture(scope="module")
def rows(stormdb_connection, parameters):
    """The table, filled before the workers start; it is dropped afterwards with the schema of the run."""
    stormdb_connection.execute("CREATE TABLE item (id int PRIMARY KEY, price int NOT NULL)")
    stormdb_connection.execute(
        "INSERT INTO item SELECT i, mod(i * 37, 1000) FROM generate_series(1, %s) i", [parameters.rows]
    )
    stormdb_connection.execute("ANALYZE item")
    yield parameters.rows
    found = stormdb_connection.execute("SELECT count(*) FROM item").fetchone()[0]
    assert found == parameters.rows, "the load changed the number of rows"


@pytest.mark.stormdb(workers=4, duration="5s", warmup="1s")
@pytest.mark.stormdb_slo("p99 < 250ms", "errors < 1%")
def test_read_item(worker, rows):
    wanted = worker.rng.randint(1, rows)
    row = worker.conn.execute("SELECT price FROM item WHERE id = %s", [wanted]).fetchone()
    assert row == (wanted * 37 % 1000,)
'''

_README = """\
# NAME

Reads one row at a time by its primary key, from a table of its own.

    pip install pytest-stormdb pydantic
    pytest NAME
    pytest NAME --stormdb-config NAME/examples/basic-config.yaml
    pytest NAME --stormdb-workers 16 --stormdb-duration 30s --stormdb-dsn postgresql://localhost/test

| parameter | default | meaning |
|---|---|---|
| `rows` | 10000 | rows in the table |

Before you hand it on, write its checksums: `stormdb seal NAME`. Whoever gets it checks them with
`stormdb verify NAME`, and pytest does so before it imports anything of it.
"""

_BASIC = """\
# Small and short: for a look at whether it works.
plugin: NAME
version: 0.1.0

parameters:
  rows: 1000

workers: 2
duration: 5s
"""

_ADVANCED = """\
# A server of your own, a fixed rate, thresholds, and metrics to watch. Set PGPASSWORD before the run.
plugin: NAME
version: 0.1.0

parameters:
  rows: 1000000

database:
  host: ${PGHOST:-localhost}
  port: 5432
  database: ${PGDATABASE:-postgres}
  user: ${PGUSER:-postgres}
  password: ${PGPASSWORD}

workers: 10
warmup: 5s
duration: 60s
rate_limit: 500
slo:
  - p99 < 50ms
  - errors < 0.1%

metrics:
  enabled: true
  interval: 10s
  exporters:
    - prometheus
    - json

logging:
  level: info
  format: json

health_checks:
  enabled: true
  interval: 30s
  timeout: 10s
"""


def scaffold(name: str, into: Path) -> Path:
    """Writes a packaged workload to the new folder `into/name`. PlanError for a bad name, or if it exists."""
    if not is_name(name):
        raise PlanError(f"{name!r} is no name for a workload: letters and digits, joined by - or _, at most 48")
    folder = into / name
    if os.path.lexists(folder):
        raise PlanError(f"{folder}: exists already; choose another name, or remove it")
    try:
        (folder / "examples").mkdir(parents=True)
        for path, content in _files(name).items():
            (folder / path).write_text(content.replace("NAME", name), encoding="utf-8", newline="\n")
    except OSError as problem:
        raise PlanError(f"{folder}: cannot be written: {problem.strerror}") from problem
    return folder


def _files(name: str) -> Mapping[str, str]:
    return {
        f"{name}.yaml": _METADATA,
        main_module_of(name): _MODULE,
        "README.md": _README,
        "examples/basic-config.yaml": _BASIC,
        "examples/advanced-config.yaml": _ADVANCED,
    }
