"""A configuration file takes effect, every key of it, and is weaker than the command line, stronger than marks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from .conftest import Suite

GUIDE = Path(__file__).parents[1] / "guide"
PASSWORD = "sEcret-of-the-test"
MODULE = """
import json
import pytest
from pydantic import BaseModel, Field

class Parameters(BaseModel, extra="forbid"):
    table_name: str = "performance_test"
    operation_type: str = Field("select", pattern="^(select|insert|update|delete)$")
    batch_size: int = Field(10, ge=1, le=1000)
    timeout: str = "1s"

@pytest.fixture(scope="module")
def parameters(stormdb_parameters):
    return stormdb_parameters(Parameters)

@pytest.fixture(scope="module", autouse=True)
def seen(parameters, stormdb_dsn, stormdb_connection):
    with open("seen.json", "w") as out:
        json.dump(parameters.model_dump() | {"password": stormdb_connection.info.password}, out)

@pytest.mark.stormdb(workers=2, duration="200ms", seed=7)
@pytest.mark.stormdb_slo("errors < 1%")
def test_read(worker):
    worker.conn.execute("SELECT 1")
"""


def database_section(conn: psycopg.Connection[Any], *more: str) -> str:
    """The section `database` that leads to the test server; in place of the guide's, which leads to localhost."""
    info = conn.info
    lines = [f"host: {info.host}", f"port: {info.port}", f"database: {info.dbname}", f"user: {info.user}"]
    return "database:\n" + "".join(f"  {line}\n" for line in [*lines, *more])


def template(conn: psycopg.Connection[Any], duration: str = "1s") -> str:
    """The guide's configuration template, word by word but for the place of the server and the duration."""
    text = (GUIDE / "my-plugin-config.yaml").read_text()
    before, database, after = text.partition("database:\n")
    rest = after[after.index("# Performance") :]
    assert database
    return f"{before}{database_section(conn, 'password: testpass')}{rest}".replace("300s", duration)


def monitoring(suite: Suite) -> str:
    """The guide's monitoring file, but for the places it writes to and listens at."""
    text = (GUIDE / "monitoring-config.yaml").read_text()
    text = text.replace("    - prometheus\n", "")
    return text.replace("/var/log/stormdb/my-plugin.log", str(suite.folder / "my-plugin.log"))


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, database: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """A database that only a configuration file leads to."""
    monkeypatch.setenv("STORMDB_DSN", "host=localhost port=1 dbname=nowhere")
    return database


def test_the_guides_template(suite: Suite, away: psycopg.Connection[Any]) -> None:
    """Plugin, version, parameters, database, workers, duration and rate_limit of the guide's file take effect."""
    suite.sealed("my-plugin", module=MODULE)
    suite.write("config.yaml", template(away))
    ran = suite.run("--stormdb-config=config.yaml")
    assert ran.counts == {"passed": 1}
    (run,) = ran.document["runs"]
    assert run["workload"] == {"name": "my-plugin", "version": "1.0.0", "integrity": "verified"}
    assert run["plan"]["workers"] == 10
    assert run["plan"]["duration_s"] == 1.0
    assert run["plan"]["rate_per_s"] == 1000.0
    assert run["plan"]["seed"] == 7  # the mark's, which the file says nothing of
    assert run["totals"]["operations"] + run["totals"]["dropped"] == pytest.approx(1000, abs=20)
    assert ran.seen == {
        "table_name": "performance_test",
        "operation_type": "select",
        "batch_size": 100,
        "timeout": "30s",
        "password": "testpass",
    }


@pytest.mark.parametrize("together", [True, False])
def test_the_guides_monitoring_file(suite: Suite, database: psycopg.Connection[Any], together: bool) -> None:
    """The monitoring file loads and takes effect, alone and together with the template in one file."""
    suite.sealed("my-plugin", module=MODULE)
    text = monitoring(suite).replace("interval: 30s", "interval: 100ms")
    suite.write("config.yaml", f"{template(database)}\n{text}" if together else text)
    ran = suite.run("--stormdb-config=config.yaml", "--stormdb-duration=700ms")
    assert ran.counts == {"passed": 1}
    (run,) = ran.document["runs"]
    assert run["plan"]["workers"] == (10 if together else 2)
    during = [check for check in run["health"] if check["when"] == "during" and check["check"] == "server reachable"]
    assert len(during) >= 2
    assert all(later["at_s"] - earlier["at_s"] > 0.099 for earlier, later in pairwise(during))  # as the file says
    assert all(check["ok"] for check in run["health"] if check["check"] != "other sessions")


PRECEDENCE = {
    "command line": ("--stormdb-workers=5", "workers: 4\n", "workers=3", "stormdb_workers = 2\n", 5),
    "config file": (None, "workers: 4\n", "workers=3", "stormdb_workers = 2\n", 4),
    "mark": (None, "seed: 1\n", "workers=3", "stormdb_workers = 2\n", 3),
    "ini": (None, "seed: 1\n", "", "stormdb_workers = 2\n", 2),
    "default": (None, "seed: 1\n", "", "", 1),
}


@pytest.mark.parametrize(("option", "config", "mark", "ini", "workers"), PRECEDENCE.values(), ids=PRECEDENCE)
def test_precedence(
    suite: Suite,
    database: psycopg.Connection[Any],
    option: str | None,
    config: str,
    mark: str,
    ini: str,
    workers: int,
) -> None:
    """The command line wins over the configuration file, that over the mark, that over the ini file."""
    suite.write("pytest.ini", f"[pytest]\n{ini}")
    suite.write("config.yaml", config)
    module = f"import pytest\n@pytest.mark.stormdb(iterations=1, {mark})\n"
    suite.write("test_own.py", f"{module}def test_own(worker):\n    worker.conn.execute('SELECT 1')\n")
    ran = suite.run("--stormdb-config=config.yaml", *([option] if option else []))
    assert ran.counts == {"passed": 1}
    assert ran.document["runs"][0]["plan"]["workers"] == workers


@pytest.mark.parametrize("plugin", ["", "plugin: my_plugin\n", "plugin: my-plugin\n"])
def test_version_must_match(suite: Suite, database: psycopg.Connection[Any], plugin: str) -> None:
    """A file for another version is a set-up error that names the place and both versions, before any fixture ran."""
    suite.sealed("my-plugin", module=MODULE)
    suite.write("config.yaml", f"{plugin}version: 2.0.0\n")
    ran = suite.run("--stormdb-config=config.yaml")
    assert (ran.status, ran.counts) == (1, {"errors": 1})
    line = 2 if plugin else 1
    assert f"config.yaml:{line}: version: is for my" in ran.text
    assert "2.0.0, but the workload is 1.0.0" in ran.text
    assert not (suite.folder / "seen.json").exists()


def test_version_of_what_has_none(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """An ordinary module has no version that could match."""
    suite.write("test_own.py", MODULE)
    suite.write("config.yaml", "plugin: own\nversion: 1.0.0\n")
    ran = suite.run("--stormdb-config=config.yaml")
    assert ran.counts == {"errors": 1}
    assert "config.yaml:2: version: is for own 1.0.0, but the workload has no version" in ran.text


@pytest.mark.parametrize("more", [(), ("--collect-only",), ("-k", "nothing")])
def test_plugin_that_is_not_there(suite: Suite, more: tuple[str, ...]) -> None:
    """A file for a workload that was not collected is a usage error that names it and those that are there."""
    suite.sealed("my-plugin", module=MODULE)
    suite.write("test_own.py", MODULE)
    suite.write("test_plain.py", "def test_plain(): pass\n")
    suite.write("config.yaml", "# a comment\nplugin: other\n")
    ran = suite.run("--stormdb-config=config.yaml", *more)
    assert ran.status == 4
    assert "config.yaml:2: plugin: no workload called 'other' was collected; there is my-plugin, own" in ran.text


def test_plugin_of_another(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A file for one workload leaves the others as they are, and deselecting that one is no error."""
    suite.sealed("my-plugin", module=MODULE)
    suite.sealed("other", module=MODULE)
    suite.write("config.yaml", "plugin: my-plugin\nworkers: 3\nparameters: {batch_size: 77}\n")
    ran = suite.run("--stormdb-config=config.yaml")
    assert ran.counts == {"passed": 2}
    workers = {run["workload"]["name"]: run["plan"]["workers"] for run in ran.document["runs"]}
    assert workers == {"my-plugin": 3, "other": 2}
    assert ran.seen["batch_size"] == 10  # the other's, which ran last
    ran = suite.run("--stormdb-config=config.yaml", "other")
    assert ran.status == 4


@pytest.mark.parametrize(
    ("yaml", "complaints"),
    [
        ("batch_size: 5000", ["config.yaml:3: parameter batch_size: Input should be less than or equal to 1000"]),
        ("operation_type: drop", ["config.yaml:3: parameter operation_type: String should match pattern"]),
        ("batch_sise: 5", ["config.yaml:3: parameter batch_sise: Extra inputs are not permitted, not 5"]),
        (
            "batch_size: 0\n  operation_type: drop",
            ["config.yaml:3: parameter batch_size: ", "config.yaml:4: parameter operation_type: "],
        ),
    ],
)
def test_parameters_that_are_wrong(
    suite: Suite, database: psycopg.Connection[Any], yaml: str, complaints: list[str]
) -> None:
    """What the workload's model refuses is a set-up error with file, line, parameter and value, and no traceback."""
    suite.sealed("my-plugin", module=MODULE)
    suite.write("config.yaml", f"workers: 1\nparameters:\n  {yaml}\n")
    ran = suite.run("--stormdb-config=config.yaml")
    assert ran.counts == {"errors": 1}
    for complaint in complaints:
        assert complaint in ran.text
    assert "parameters.py" not in ran.text


def test_parameters_of_the_command_line(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """--stormdb-param is stronger than the file, and is named where it is wrong."""
    suite.sealed("my-plugin", module=MODULE)
    suite.write("config.yaml", "parameters:\n  batch_size: 5\n  table_name: other\n")
    ran = suite.run("--stormdb-config=config.yaml", "--stormdb-param=batch_size=6")
    assert ran.counts == {"passed": 1}
    assert (ran.seen["batch_size"], ran.seen["table_name"]) == (6, "other")
    ran = suite.run("--stormdb-config=config.yaml", "--stormdb-param=batch_size=0")
    assert ran.counts == {"errors": 1}
    assert "--stormdb-param: parameter batch_size: " in ran.text
    assert "config.yaml" not in ran.text.partition("short test summary")[0].partition("=== ERRORS")[2]


@pytest.mark.parametrize("content", ["workers: none\n", "workres: 3\n", "workers: [\n"])
def test_file_that_is_wrong(suite: Suite, content: str) -> None:
    """A file that cannot be taken is a usage error with file and line, before anything is collected."""
    suite.write("test_own.py", suite.canary("own"))
    suite.write("config.yaml", f"seed: 1\n{content}")
    ran = suite.run("--stormdb-config=config.yaml")
    assert (ran.status, ran.canaries) == (4, [])
    assert "ERROR: --stormdb-config: " in ran.text
    assert "config.yaml:" in ran.text


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("slo: [p50 < 1h, p99 < soon]", "config.yaml:2: slo.1: threshold 'p99 < soon': p99: 'soon' is not a duration"),
        ("workers: 10001", "config.yaml:2: workers: '10001' must be a whole number from 1 to 10000"),
        ("duration: 1s\niterations: 1", "config.yaml: give duration or iterations, not both"),
    ],
)
def test_load_that_makes_no_sense(suite: Suite, content: str, complaint: str) -> None:
    """A load that the file alone makes senseless is a usage error, before anything is collected."""
    suite.write("test_own.py", suite.canary("own"))
    suite.write("config.yaml", f"seed: -1\n{content}\n")
    ran = suite.run("--stormdb-config=config.yaml")
    assert (ran.status, ran.canaries) == (4, [])
    assert complaint in ran.text


def test_file_that_is_not_there(suite: Suite) -> None:
    """A missing file is a usage error that names it."""
    ran = suite.run("--stormdb-config=missing.yaml")
    assert ran.status == 4
    assert "missing.yaml" in ran.text


def test_file_beside_the_ini_file(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """A configuration file named in the ini file is found from there, wherever pytest starts."""
    suite.write("pytest.ini", "[pytest]\nstormdb_config = config.yaml\n")
    suite.write("config.yaml", "workers: 3\n")
    suite.sealed("below/my-plugin", module=MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(suite.folder / "below")
        assert suite.run("--stormdb-json=../run.json").document["runs"][0]["plan"]["workers"] == 3


SECRETS = {
    "in the file": (f"password: {PASSWORD}",),
    "in a file beside": ("password_file: secret.txt",),
    "in the environment": ("password: ${STORM_SECRET}",),
    "in a connection string": None,
}
FAILS = """
    def broken(worker):
        raise ValueError(f"no luck at {worker.dsn!r}")
    stormdb.run(broken, iterations=1)
"""


@pytest.mark.parametrize("lines", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("fails", [pytest.param(False, marks=pytest.mark.slow), True])
def test_password_is_used_and_not_told(
    suite: Suite,
    away: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    lines: tuple[str, ...] | None,
    fails: bool,
) -> None:
    """The password arrives at the server's door and is in no output, record or JUnit file, failing or not."""
    monkeypatch.setenv("STORM_SECRET", PASSWORD)
    suite.write("secret.txt", f"{PASSWORD}\n")
    info = away.info
    dsn = f"dsn: host={info.host} port={info.port} dbname={info.dbname} user={info.user} password={PASSWORD}"
    suite.write("config.yaml", database_section(away, *lines) if lines else f"database:\n  {dsn}\n")
    test = "\ndef test_hand(stormdb, stormdb_connection):\n    assert stormdb_connection.info.password\n"
    suite.sealed("my-plugin", module=MODULE + test + (FAILS if fails else ""))
    ran = suite.run("--stormdb-config=config.yaml", "-vv", "--showlocals", "--setup-show", "-rA")
    assert ran.seen["password"] == PASSWORD
    assert ran.counts == ({"passed": 1, "failed": 1} if fails else {"passed": 2})
    assert PASSWORD not in ran.text
    assert PASSWORD not in (suite.folder / "run.json").read_text()
    assert PASSWORD not in (suite.folder / "junit.xml").read_text()


def test_password_is_not_told_when_nobody_answers(suite: Suite) -> None:
    """A server that cannot be reached is named without its password."""
    suite.write("config.yaml", f"database:\n  host: 127.0.0.1\n  port: 1\n  user: u\n  password: {PASSWORD}\n")
    suite.sealed("my-plugin", module=MODULE)
    ran = suite.run("--stormdb-config=config.yaml", "-vv", "--showlocals")
    assert ran.counts == {"errors": 1}
    assert "cannot connect to u@127.0.0.1:1" in ran.text
    assert PASSWORD not in ran.text + (suite.folder / "junit.xml").read_text()


def test_database_by_precedence(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """--stormdb-dsn is stronger than the file's database, and that than STORMDB_DSN."""
    suite.sealed("my-plugin", module=MODULE)
    suite.write("config.yaml", "database: {host: localhost, port: 1}\n")
    dsn = f"host={database.info.host} dbname={database.info.dbname} user={database.info.user}"
    assert conninfo_to_dict(dsn)["dbname"] == database.info.dbname
    assert suite.run("--stormdb-config=config.yaml").counts == {"errors": 1}
    assert suite.run("--stormdb-config=config.yaml", f"--stormdb-dsn={dsn}").counts == {"passed": 1}
