"""No password in any byte that a session lets out, whoever raised it and however pytest was told to show it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from textwrap import dedent
from urllib.parse import quote

import pytest

from pytest_stormdb.embedded.server import EmbeddedServer

from ..conftest import Suite

CANARY = "Kan4ri/V0gel@h%ft'9"
URL_CANARY = quote(CANARY, safe="")
CONNINFO_CANARY = "'" + CANARY.replace("'", r"\'") + "'"

FAILURES = """\
import logging, os, warnings
import psycopg, pytest
import pytest_stormdb
from psycopg.conninfo import make_conninfo

DSN, URL = os.environ["STORMDB_DSN"], os.environ["CANARY_URL"]
CLOSED = make_conninfo(DSN, host="127.0.0.1", port=1)

def test_connect():
    psycopg.connect(CLOSED)

def test_connect_with_keywords():
    psycopg.connect(host="127.0.0.1", port=1, user="u", password=os.environ["CANARY"])

def test_connect_url():
    psycopg.connect(URL)

def test_connect_torn_url():
    psycopg.connect("postgresql://u:" + os.environ["CANARY"] + "@127.0.0.1:1/db")

def test_connect_async():
    import asyncio
    asyncio.run(psycopg.AsyncConnection.connect(CLOSED))

def test_connect_wrong_option():
    psycopg.connect(DSN + " nonsense=1")

def test_equal(stormdb_dsn):
    assert stormdb_dsn == DSN + "!"

def test_equal_of_long(stormdb_dsn):
    assert ("x" * 300 + DSN + "y" * 300).split() == ("x" * 300 + DSN + "z" * 300).split()

def test_equal_of_shared_beginning():
    assert DSN + "a" * 50 == DSN + "b" * 50

def test_in():
    assert "nothing" in [DSN, URL]

def test_equal_of_data():
    assert {"dsn": DSN, "url": [URL]} == {"dsn": URL, "url": [DSN]}

def test_raise():
    raise ValueError(DSN)

def test_raise_url():
    raise RuntimeError({"url": URL})

def test_raise_chained():
    try:
        raise ValueError(DSN)
    except ValueError as error:
        raise KeyError(URL) from error

def test_raise_group():
    raise ExceptionGroup(DSN, [ValueError(URL), KeyError(DSN)])

def test_note():
    error = ValueError("x")
    error.add_note(URL)
    raise error

def test_fail():
    pytest.fail(URL)

def test_fail_without_traceback():
    pytest.fail(DSN, pytrace=False)

def test_skip():
    pytest.skip(DSN)

def test_xfail():
    pytest.xfail(URL)

@pytest.mark.xfail(reason=DSN, strict=True)
def test_xpass():
    pass

def test_print(capfd):
    print(DSN)
    with capfd.disabled():
        pass
    assert 0

def test_print_captured():
    import sys
    print(DSN)
    print(URL, file=sys.stderr)
    assert 0

def test_log():
    logging.getLogger("author").error("going to %s", DSN)
    assert 0

def test_log_exception():
    try:
        raise ValueError(URL)
    except ValueError:
        logging.getLogger("author").exception("failed at %s", URL)
    assert 0

def test_warn():
    warnings.warn(URL, UserWarning)

def test_locals():
    settings = {"dsn": DSN, "parts": (URL, [DSN])}
    password = os.environ["CANARY"]
    encoded = DSN.encode()
    assert not settings

@pytest.fixture
def broken():
    raise LookupError(DSN)

def test_set_up(broken):
    pass

@pytest.fixture
def broken_later():
    yield
    raise LookupError(URL)

def test_clean_up(broken_later):
    pass

def test_property(record_property):
    record_property("dsn", DSN)
    assert 0

def test_unparsable(stormdb_parameters):
    stormdb_parameters(lambda **given: int(URL))
"""

WORKLOADS = """\
import os
import psycopg, pytest
import pytest_stormdb
from psycopg.conninfo import make_conninfo
from pytest_stormdb import OperationResult

DSN, URL = os.environ["STORMDB_DSN"], os.environ["CANARY_URL"]
load = pytest.mark.stormdb(workers=2, iterations=2)

@load
def test_raises(worker):
    raise ValueError(f"{DSN} and {URL}")

@pytest.mark.stormdb(workers=2, iterations=2, connect=False)
def test_connects(worker):
    psycopg.connect(make_conninfo(worker.dsn, host="127.0.0.1", port=1))

@pytest.mark.stormdb(workers=2, iterations=2, connect=False)
def test_connects_by_url(worker):
    psycopg.connect(worker.url.replace("/stormdb", "/nowhere_stormdb"))

@load
def test_aborts(worker):
    raise pytest_stormdb.Aborted(DSN)

@load
def test_result(worker):
    return OperationResult(success=False, error=URL, metadata={"dsn": DSN})

@load
def test_statement(worker):
    worker.conn.execute("SELECT %s::int", [DSN])

@load
def test_asserts(worker):
    assert worker.dsn == DSN + worker.url

@load
def test_operation(worker):
    with worker.operation(URL):
        raise ValueError(DSN)

@pytest_stormdb.worker_fixture
def resource(worker):
    raise ValueError(DSN)
    yield

@load
def test_resource(worker, resource):
    pass

def test_in_hand(stormdb):
    result = stormdb.run(lambda worker: int(DSN), workers=2, iterations=2)
    assert result.failures == DSN
"""

UNWELL = """\
import os
import pytest

@pytest.mark.stormdb_health
def looks_well(conn):
    raise RuntimeError(os.environ["CANARY_URL"])

@pytest.mark.stormdb(workers=2, iterations=2)
def test_health(worker):
    worker.conn.execute("SELECT 1")
"""

OVERRIDDEN = """\
import os
import pytest

PASSWORD = os.environ["CANARY"]
STRINGS = [
    "postgresql://u:" + PASSWORD + "@127.0.0.1:1/db",
    "postgresql://u:" + PASSWORD + "%E4%ZZ@127.0.0.1:1/db",
    "postgresql://u:" + os.environ["URL_CANARY"] + "@127.0.0.1:1/db",
    "host=127.0.0.1 port=1 password=" + PASSWORD,
    "host=127.0.0.1 port=1 nonsense=1 password=" + os.environ["CONNINFO_CANARY"],
    "host=127.0.0.1 port=one password=" + os.environ["CONNINFO_CANARY"],
    "host=127.0.0.1 port=1 and more password=" + os.environ["CONNINFO_CANARY"],
    "host=127.0.0.1 port=1 password=" + os.environ["CONNINFO_CANARY"],
]

@pytest.fixture(scope="session", params=range(len(STRINGS)))
def stormdb_dsn(request):
    return STRINGS[request.param]

@pytest.mark.stormdb(workers=1, iterations=1)
def test_there(worker):
    pass
"""

SHOWN = {
    "everything": ("-rA", "-vv", "--showlocals", "--tb=long", "--log-cli-level=INFO"),
    "by default": (),
    "short": ("--tb=short", "-l", "-ra"),
    "native": ("--tb=native", "-rA"),
    "line": ("--tb=line", "-rA"),
    "xdist": ("-n2", "-rA", "--showlocals", "-p", "xdist"),
    "smoke": ("--stormdb-smoke", "-rA", "--showlocals"),
}
FILES = [
    "--junit-xml=junit.xml", "--log-file=pytest.log", "--log-file-level=DEBUG", "--stormdb-json=run.json",
    "--stormdb-html=run.html", "--stormdb-markdown=run.md", "--stormdb-config=run.yaml",
]  # fmt: skip
CONFIGURATION = "logging:\n  level: debug\n  format: json\n  output: stormdb.log\nmetrics:\n  exporters: [json]\n"


def leaks(text: bytes) -> list[str]:
    """The lines that show the canary, or most of it, in any of the ways it may be written."""
    forms = [
        CANARY,
        URL_CANARY,
        CANARY.replace("'", r"\'"),
        CANARY.replace("'", "&#x27;"),
        CANARY.replace("'", "&apos;"),
    ]
    parts = {form[start : start + 14] for form in forms for start in range(len(form) - 13)}
    return [line for line in text.decode(errors="replace").splitlines() if any(part in line for part in parts)]


@pytest.fixture
def canary(offline_suite: Suite, server: EmbeddedServer) -> Suite:
    """A suite that knows the canary by its environment only, and whose server takes any password."""
    dsn = f"{server.dsn} password={CONNINFO_CANARY}"
    offline_suite.env.setenv("STORMDB_DSN", dsn)
    offline_suite.env.setenv("CANARY", CANARY)
    offline_suite.env.setenv("URL_CANARY", URL_CANARY)
    offline_suite.env.setenv("CONNINFO_CANARY", CONNINFO_CANARY)
    offline_suite.env.setenv("CANARY_URL", f"postgresql://u:{URL_CANARY}@127.0.0.1:1/db")
    (offline_suite.path / "run.yaml").write_text(CONFIGURATION)
    return offline_suite


def outputs(suite: Suite, result: pytest.RunResult) -> dict[str, bytes]:
    """Everything that a session let out, by name."""
    written = [
        path for path in suite.path.iterdir() if path.suffix in (".xml", ".log", ".json", ".html", ".md", ".jsonl")
    ]
    streams = {"stdout": result.stdout.str().encode(), "stderr": result.stderr.str().encode()}
    return streams | {path.name: path.read_bytes() for path in written}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=() if name == "everything" else pytest.mark.slow)
        for name, options in SHOWN.items()
    ],
)
def test_no_output_shows_it(canary: Suite, options: tuple[str, ...]) -> None:
    """Fifty ways to fail, shown in each of pytest's ways, with every report and log that there is."""
    canary.write(test_failures=FAILURES, test_workloads=WORKLOADS, test_unwell=UNWELL, test_overridden=OVERRIDDEN)
    result = canary.run(*FILES, *options, warnings="default")
    assert result.ret == 1
    found = outputs(canary, result)
    assert {name: leaks(content) for name, content in found.items() if leaks(content)} == {}
    assert found["stdout"].count(b"***") > 5
    assert {"junit.xml", "pytest.log", "run.md"} <= set(found)
    assert re.search(rb"(\d+) failed", found["stdout"]) is not None


BROKEN = {
    "conftest": ({"conftest": "import os, psycopg\npsycopg.connect(os.environ['CANARY_URL'])\n"}, ()),
    "conftest that raises it": ({"conftest": "import os\nraise ValueError(os.environ['STORMDB_DSN'])\n"}, ()),
    "module": ({"test_it": "import os\nraise ValueError(os.environ['CANARY_URL'])\n"}, ("-l",)),
    "hook": (
        {"conftest": "import os\ndef pytest_sessionstart():\n    raise ValueError(os.environ['STORMDB_DSN'])\n"},
        (),
    ),
}


@pytest.mark.parametrize(("files", "options"), BROKEN.values(), ids=BROKEN)
def test_a_session_that_breaks_off(canary: Suite, files: dict[str, str], options: tuple[str, ...]) -> None:
    """What pytest prints by itself, outside of any report, does not show it either."""
    canary.write(**{"test_it": "def test_it(): pass\n", **files})
    result = canary.run("--junit-xml=junit.xml", *options)
    assert result.ret != 0
    found = outputs(canary, result)
    assert {name: leaks(content) for name, content in found.items() if leaks(content)} == {}
    assert b"rewriting.py" not in found["stdout"] + found["stderr"]


SAID = {
    "in words of plugins": """
        def pytest_report_header():
            return DSN
        def pytest_runtest_teardown(item):
            item.session.shouldfail = URL
        def pytest_terminal_summary(terminalreporter):
            terminalreporter.write_line(URL)
    """,
    "by an exit at the start": "def pytest_sessionstart(): pytest.exit(URL)",
    "by an exit at the end": "def pytest_sessionfinish(): pytest.exit(DSN)",
    "by an exit of a test": "def pytest_runtest_call(): pytest.exit(URL)",
    "by an interruption": "def pytest_runtest_call(): raise KeyboardInterrupt(DSN)",
    "by a wrong use": "def pytest_configure(): raise pytest.UsageError(DSN)",
    "by a failure at the very end": "def pytest_unconfigure(): raise ValueError(DSN)",
}


@pytest.mark.parametrize("code", SAID.values(), ids=SAID)
def test_what_is_said_outside_of_reports(canary: Suite, code: str) -> None:
    """Headers, reasons to stop, properties of the suite and pytest's own debug file do not show it."""
    canary.write(
        conftest="import os, pytest\nDSN, URL = os.environ['STORMDB_DSN'], os.environ['CANARY_URL']\n" + dedent(code),
        test_it="""
            import os
            def test_it(record_testsuite_property):
                record_testsuite_property("dsn", os.environ["STORMDB_DSN"])
        """,
    )
    dsn = f"--stormdb-dsn={os.environ['STORMDB_DSN']}"
    result = canary.run("--junit-xml=junit.xml", "--debug=debug.log", "--full-trace", dsn)
    found = outputs(canary, result)
    assert {name: leaks(content) for name, content in found.items() if leaks(content)} == {}
    assert b"***" in found["debug.log"]
    assert b"***" in found["stdout"] + found["stderr"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("database:\n  dsn: host=localhost password=CANARY and more dbname=x\n", "run.yaml:2: database.dsn: "),
        ("database:\n  dsn: postgresql://u:CANARY@h:1:2/db\n", "run.yaml:2: database.dsn: "),
        ("parameters:\n  token: ${CANARY}\n", "run.yaml:2: parameter token: "),
    ],
)
def test_a_configuration_file(canary: Suite, text: str, told: str) -> None:
    """Whatever is wrong in it is told with file and line."""
    (canary.path / "run.yaml").write_text(text.replace("CANARY", CANARY) if "${" not in text else text)
    canary.write("""
        import pytest
        from pydantic import BaseModel, Field, SecretStr
        class Model(BaseModel):
            token: SecretStr = Field(min_length=30)
        @pytest.mark.stormdb(workers=1, iterations=1)
        def test_it(worker, stormdb_parameters):
            stormdb_parameters(Model)
        @pytest.fixture(autouse=True)
        def checked(stormdb_parameters):
            return stormdb_parameters(Model)
    """)
    result = canary.run("--stormdb-config=run.yaml", "--junit-xml=junit.xml", "-l", "-rA")
    found = outputs(canary, result)
    assert {name: leaks(content) for name, content in found.items() if leaks(content)} == {}
    assert told in result.stdout.str() + result.stderr.str()


def test_workers_get_a_file_instead(canary: Suite) -> None:
    """`worker.dsn` names a file that only its owner may read and that is gone after the session; a URL is complete."""
    canary.write("""
        import os, pathlib, stat
        import psycopg, pytest
        from psycopg.conninfo import conninfo_to_dict

        @pytest.mark.stormdb(workers=2, iterations=1, connect=False)
        def test_it(worker):
            parts = conninfo_to_dict(worker.dsn)
            assert "password" not in parts
            path = pathlib.Path(parts["passfile"])
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            pathlib.Path("where").write_text(str(path))
            assert conninfo_to_dict(worker.url)["password"] == os.environ["CANARY"]
            psycopg.connect(worker.dsn).close()
    """)
    canary.run("-q").assert_outcomes(passed=1)
    place = Path((canary.path / "where").read_text())
    assert not place.exists()
    assert not place.parent.exists()
    assert os.path.basename(place).endswith(".pgpass")
