"""The configuration file: the guide's two files, our own keys, secrets, and what is said of mistakes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_stormdb.configuration.file import (
    Configuration,
    DatabaseSection,
    HealthSection,
    LoggingSection,
    MetricsSection,
    load_configuration,
)
from pytest_stormdb.errors import PlanError
from pytest_stormdb.load.option import NOT_GIVEN

GUIDE = Path(__file__).parents[1] / "guide"
SECOND = 10**9
MALFORMED = "'${' begins a variable: write ${NAME} or ${NAME:-default}, or $${ for itself"
NO_DURATION = "must be a duration above zero such as '500ms', '30s', '5m' or '1h'"
NO_VARIABLES: Mapping[str, str] = {}


def loaded(folder: Path, text: str, environ: Mapping[str, str] = NO_VARIABLES) -> Configuration:
    path = folder / "run.yaml"
    path.write_text(text)
    return load_configuration(path, environ)


def refusal(folder: Path, text: str, environ: Mapping[str, str] = NO_VARIABLES) -> str:
    """What is said of a wrong file, from the line on."""
    with pytest.raises(PlanError) as caught:
        loaded(folder, text, environ)
    assert caught.value.__cause__ is None, "a cause could quote the file"
    return str(caught.value).removeprefix(f"{folder / 'run.yaml'}:")


def assert_template(configuration: Configuration) -> None:
    assert configuration.plugin == "my-plugin"
    assert configuration.version == "1.0.0"
    assert configuration.parameters == {
        "table_name": "performance_test",
        "operation_type": "select",
        "batch_size": 100,
        "timeout": "30s",
    }
    assert configuration.database == DatabaseSection(
        host="localhost", port=5432, dbname="testdb", user="testuser", password="testpass"
    )
    assert configuration.load == {"workers": 10, "duration": "300s", "rate": 1000}


def assert_monitoring(configuration: Configuration) -> None:
    assert configuration.metrics == MetricsSection(True, 10 * SECOND, ("prometheus", "json"))
    assert configuration.logging == LoggingSection("info", "json", Path("/var/log/stormdb/my-plugin.log"))
    assert configuration.health_checks == HealthSection(True, "30s", "10s")


def test_the_guides_template_loads_with_every_key() -> None:
    """The guide's my-plugin-config.yaml, byte for byte, gives every key its meaning."""
    configuration = load_configuration(GUIDE / "my-plugin-config.yaml", {})
    assert_template(configuration)
    assert (configuration.metrics, configuration.logging, configuration.health_checks) == (None, None, None)


def test_the_guides_monitoring_file_loads_with_every_key() -> None:
    """The guide's monitoring-config.yaml, byte for byte, gives every key its meaning."""
    configuration = load_configuration(GUIDE / "monitoring-config.yaml", {})
    assert_monitoring(configuration)
    assert (configuration.plugin, configuration.database, configuration.load) == (None, None, {})


def test_both_of_the_guides_files_in_one(tmp_path: Path) -> None:
    """The two files of the guide, joined, mean what they mean apart."""
    names = ("my-plugin-config.yaml", "monitoring-config.yaml")
    configuration = loaded(tmp_path, "\n".join((GUIDE / name).read_text() for name in names))
    assert_template(configuration)
    assert_monitoring(configuration)


def test_our_own_load_keys(tmp_path: Path) -> None:
    """The options of a load can stand in the file, and come back under the mark's names, written as they were."""
    configuration = loaded(
        tmp_path,
        """
workers: 4
duration: 1.5m
iterations: 100
warmup: 2
rate: 600/m
arrivals: poisson
stages: 10:30s,50:30s
think_time: 5ms..50ms
timeout: 30s
retries: 0
batch_size: 10
seed: -7
slo: [p99 < 20ms, errors < 0.1%]
""",
    )
    assert configuration.slo == ("p99 < 20ms", "errors < 0.1%")
    assert configuration.load == {
        "workers": 4,
        "duration": "1.5m",
        "iterations": 100,
        "warmup": 2,
        "rate": "600/m",
        "arrivals": "poisson",
        "stages": "10:30s,50:30s",
        "think_time": "5ms..50ms",
        "timeout": "30s",
        "retries": 0,
        "batch_size": 10,
        "seed": -7,
    }


def test_what_is_not_given_is_none(tmp_path: Path) -> None:
    """An empty file, and one of comments, is a configuration that says nothing."""
    for text in ("", "# workers: 10\n"):
        configuration = loaded(tmp_path, text)
        assert configuration == Configuration(tmp_path / "run.yaml")
        assert configuration.load == {}


def test_sections_have_the_guides_values_as_defaults(tmp_path: Path) -> None:
    """A section that is only begun is switched on; of what it does not say, other sources may say something."""
    configuration = loaded(tmp_path, "metrics:\nlogging: {level: warn}\nhealth_checks: {enabled: no}\nparameters:\n")
    assert configuration.metrics == MetricsSection(True, 10 * SECOND, ())
    assert configuration.logging == LoggingSection("warning", "text", None)
    assert configuration.health_checks == HealthSection(False, NOT_GIVEN, NOT_GIVEN)
    assert configuration.parameters == {}


def test_parameters_are_plain_values(tmp_path: Path) -> None:
    """Parameters are free; what YAML 1.1 would turn into another number or a date stays text."""
    text = "parameters: {a: [1, 2.5, yes, null], zip: 01234, at: 12:30, day: 2026-01-02, b: {c: '7'}}"
    assert loaded(tmp_path, text).parameters == {
        "a": [1, 2.5, True, None],
        "zip": "01234",
        "at": "12:30",
        "day": "2026-01-02",
        "b": {"c": "7"},
    }


def test_every_key_knows_its_place(tmp_path: Path) -> None:
    """Whoever judges a value later can still say in which line it stands."""
    configuration = loaded(tmp_path, "parameters:\n  rows: 1\n  names:\n  - a\n  - b\nslo:\n- p99 < 1\n")
    lines = {key: place.rpartition(":")[2] for key, place in configuration.places.items()}
    assert lines == {
        "parameters": "2",
        "parameters.rows": "2",
        "parameters.names": "4",
        "parameters.names.0": "4",
        "parameters.names.1": "5",
        "slo": "7",
        "slo.0": "7",
    }
    assert configuration.places["slo.0"] == f"{tmp_path / 'run.yaml'}:7"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker: 10", "1: unknown key 'worker'; did you mean 'workers'?"),
        ("pasword: hunter2", "1: unknown key 'pasword'; did you mean 'database.password'?"),
        ("database:\n  pasword: hunter2", "2: database: unknown key 'pasword'; did you mean 'password'?"),
        ("zzz: 1\nworkers: 1", "1: unknown key 'zzz'; known: plugin, version, parameters, "),
        ("workers: many", "1: workers: 'many' must be a whole number from 1 to 10000"),
        ("workers: 0", "1: workers: '0' must be a whole number from 1 to 10000"),
        ("workers: 010", "1: workers: '010' must be a whole number from 1 to 10000"),
        ("workers: yes", "1: workers: 'yes' must be a whole number from 1 to 10000"),
        ("workers: 2.0", "1: workers: '2.0' must be a whole number from 1 to 10000"),
        ("workers:", "1: workers: must be a whole number from 1 to 10000"),
        ("workers: 1\n\nworkers: 2", "3: key 'workers' is given twice, first in line 1"),
        ("seed: 1.5", "1: seed: '1.5' must be a whole number"),
        ("seed: 9223372036854775808", "1: seed: is a number that does not fit in 64 bits"),
        ("duration: 300x", "1: duration: '300x' must be a duration above zero such as '500ms', '30s', '5m' or '1h'"),
        ("duration: 0s", "1: duration: '0s' must be a duration above zero such as '500ms'"),
        ("duration: 1:30", "1: duration: '1:30' must be a duration above zero such as '500ms', '30s', '5m' or '1h'"),
        (
            f"duration: {'9' * 400}s",
            "1: duration: '999999999999999999999999999999999999999999999999999999999...",
        ),
        ("warmup: -1s", "1: warmup: '-1s' must be a duration such as '500ms', '30s', '5m' or '1h'"),
        (
            "rate_limit: 0",
            "1: rate_limit: '0' must be a rate above zero such as '1000/s', '60/m', or a number",
        ),
        ("rate: .inf", "1: rate: '.inf' must be a rate above zero such as '1000/s', '60/m', or a number"),
        ("rate: 1\nrate_limit: 2", "2: rate_limit: 'rate' is given too; keep one of them"),
        ("arrivals: poison", "1: arrivals: 'poison' is not one of uniform, poisson; did you mean 'poisson'?"),
        ("stages: 10", "1: stages: '10' must be stages such as '10:30s,10->50:30s' of workers or '100/s->500/s:1m'"),
        ("think_time: 9ms..1ms", "1: think_time: '9ms..1ms' must be a duration such as '500ms', '30s', '5m' or '1h', "),
        ("slo: p99 < 1s", "1: slo: 'p99 < 1s' must be a list: one '- item' a line, or [item, item]"),
        ("slo: [p99, {a: b}]", "1: slo.1: must be text"),
        ("database:\n  port: 70000", "2: database.port: '70000' must be a whole number from 1 to 65535"),
        (
            "database:\n  user: a\n  username: b",
            "3: database.username: 'user' is given too; keep one of them",
        ),
        ("database:\n  dsn: x\n  host: b", "3: database.host: 'dsn' is given too; keep one of them"),
        (
            "database:\n  password: x\n  password_file: y",
            "3: database.password_file: 'password' is given too",
        ),
        (
            "database: {sslmode: required}",
            "1: database.sslmode: 'required' is not one of disable, allow, prefer,",
        ),
        ("database: postgresql://a:hunter2@b/c", "1: database: must be a mapping of keys to values"),
        ("metrics: {enabled: maybe}", "1: metrics.enabled: 'maybe' must be true or false"),
        (
            "metrics: {exporters: [jsn]}",
            "1: metrics.exporters.0: 'jsn' is not one of prometheus, json; did you",
        ),
        ("metrics: {interval: 0}", "1: metrics.interval: '0' must be a duration above zero such as '500ms'"),
        (
            "logging: {level: loud}",
            "1: logging.level: 'loud' is not one of debug, info, warning, error, critical",
        ),
        ("logging: {format: xml}", "1: logging.format: 'xml' is not one of text, json; known: text, json"),
        ("health_checks: {timout: 1}", "1: health_checks: unknown key 'timout'; did you mean 'timeout'?"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    """Each mistake is one PlanError naming file, line, key, value and the nearest known key."""
    message = refusal(tmp_path, text)
    assert message.startswith(said)
    assert "\n" not in message


def test_variables_come_from_the_environment(tmp_path: Path) -> None:
    """Variables are replaced in values, also in numbers; ``:-`` covers unset and empty, ``$${`` is itself."""
    text = """
plugin: ${NAME}-plugin
workers: ${WORKERS:-8}
seed: ${SEED:-1}
parameters: {a: "${SEED}", b: "$${SEED} $5 $", c: "${EMPTY:-x}${EMPTY}", d: [{e: "${NAME}"}]}
database: {user: "${USER_NAME:-}"}
"""
    configuration = loaded(tmp_path, text, {"NAME": "my", "SEED": "42", "EMPTY": ""})
    assert configuration.plugin == "my-plugin"
    assert configuration.load == {"workers": 8, "seed": 42}
    assert configuration.parameters == {"a": "42", "b": "${SEED} $5 $", "c": "x", "d": [{"e": "my"}]}
    assert configuration.database == DatabaseSection(user="")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "slo:\nplugin: ${GONE}",
            "2: plugin: the variable GONE is not set; set it, or write ${GONE:-default}",
        ),
        ("plugin: ${GONE-x}", f"1: plugin: {MALFORMED}"),
        ("workers: ${SECRET}", "1: workers: '${SECRET}' must be a whole number from 1 to 10000"),
        ("timeout: ${SECRET}", f"1: timeout: '${{SECRET}}' {NO_DURATION}"),
        (
            "arrivals: ${SECRET}",
            "1: arrivals: '${SECRET}' is not one of " + "uniform, poisson; known: uniform, poisson",
        ),
    ],
)
def test_what_is_wrong_with_variables_never_shows_them(tmp_path: Path, text: str, said: str) -> None:
    """An unset variable is named; the value of a set one, which may be a secret, is not shown."""
    assert refusal(tmp_path, text, {"SECRET": "hunter2"}) == said


def test_the_password_is_text_whatever_it_looks_like(tmp_path: Path) -> None:
    """Passwords that YAML takes for numbers, truths or dates stay what was written."""
    for password in ("0123", "1e5", "yes", "2026-01-02", "12:30", "0x1F", "1_000"):
        database = loaded(tmp_path, f"database: {{password: {password}}}").database
        assert database == DatabaseSection(password=password)


def test_passwords_are_in_no_repr(tmp_path: Path) -> None:
    """Neither the password nor the connection string shows where a configuration is printed."""
    for text in ("database: {password: hunter2}", "database: {dsn: 'postgresql://u:hunter2@h/d'}"):
        configuration = loaded(tmp_path, text)
        assert "hunter2" not in repr(configuration)
        assert "hunter2" not in f"{configuration.database}"
        assert pickle.loads(pickle.dumps(configuration)) == configuration


def test_connection_options_are_libpqs(tmp_path: Path) -> None:
    """The parts of a connection come under libpq's names, a connection string apart from them."""
    text = "database: {host: h, port: 5433, dbname: d, username: u, sslmode: require, password: p}"
    database = loaded(tmp_path, text).database
    assert database is not None
    assert database.connection_options() == {
        "host": "h",
        "port": 5433,
        "dbname": "d",
        "user": "u",
        "password": "p",
        "sslmode": "require",
    }
    with_dsn = loaded(tmp_path, "database: {dsn: 'postgresql://h/d', password: p}").database
    assert with_dsn == DatabaseSection(dsn="postgresql://h/d", password="p")
    assert with_dsn.connection_options() == {"password": "p"}


@pytest.mark.parametrize(
    ("content", "password"),
    [(b"ab", "ab"), (b"ab\n", "ab"), (b"ab\r\n", "ab"), (b" a \n\n", " a \n"), (b"a\r", "a\r")],
)
def test_a_password_file_loses_one_newline(tmp_path: Path, content: bytes, password: str) -> None:
    """The file, found beside the configuration, is the password without its last newline."""
    (tmp_path / "secret").write_bytes(content)
    assert loaded(tmp_path, "database: {password_file: secret}").database == DatabaseSection(password=password)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "does not hold a password: it is empty, too long, or has a NUL character"),
        (b"\n", "does not hold a password: it is empty, too long, or has a NUL character"),
        (b"hunter2\0", "does not hold a password: it is empty, too long, or has a NUL character"),
        (b"hunter2" * 10_000, "does not hold a password: it is empty, too long, or has a NUL character"),
        (b"hunter2\xff", "does not hold UTF-8 text"),
    ],
)
def test_an_unfit_password_file_is_named_not_quoted(tmp_path: Path, content: bytes | None, said: str) -> None:
    """What is wrong with the file is said without a word of what is in it."""
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    message = refusal(tmp_path, "database: {password_file: secret}")
    assert message == f"1: database.password_file: 'secret' {said}"


@pytest.mark.parametrize(
    "line",
    [
        "password: *hunter2",
        "password: !hunter2 x",
        "password: &hunter2",
        'password: "hunter2\\q"',
        "password: [hunter2]",
        "password: {hunter2: x}",
        "password: hunter2: x",
        "password: %hunter2",
        "password: @hunter2",
        "password: 'hunter2",
        'password: "hunter2\\0"',
        "password: hunter2\n  password: hunter2",
        "dsn: [hunter2]",
        "hunter2",
        "passwort: hunter2",
        "password: ${hunter2",
        "password: hunter2\n  dsn: 5\n  port: hunter",
    ],
)
def test_no_error_shows_a_password(tmp_path: Path, line: str) -> None:
    """However a password is miswritten, the error that follows does not repeat it."""
    message = refusal(tmp_path, f"database:\n  {line}\n")
    assert "hunter2" not in message


def test_the_version_must_be_the_workloads(tmp_path: Path) -> None:
    """A file for this workload in another version is refused; for another workload it says nothing."""
    configuration = loaded(tmp_path, "plugin: shop\nversion: 1.0.0\n")
    configuration.check_version("shop", "1.0.0")
    configuration.check_version("other", "2.0.0")
    with pytest.raises(PlanError, match=r":2: version: is for shop 1\.0\.0, but the workload is 2\.0\.0$"):
        configuration.check_version("shop", "2.0.0")
    with pytest.raises(PlanError, match=r"run\.yaml:1: version"):
        loaded(tmp_path, "version: 1").check_version("shop", "2.0.0")
    loaded(tmp_path, "plugin: shop").check_version("shop", "2.0.0")


PIECES = """\
workers: |duration: |database:
|  password: |  port: |rate: |slo:
|- |[|]|{|}|: |, |'|"|${A}|${B:-1}|${|&a |*a |!!int |!!float |1|1:30|0x|99999999999999999999|.inf
|.nan|30s|1/s|yes|~|? |
|\\0|metrics:
|  exporters: [json]
|  enabled: |parameters: """


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.text().map(lambda text: text.encode(errors="surrogatepass")),
        st.binary(),
        st.lists(st.sampled_from(PIECES.split("|"))).map(lambda pieces: "".join(pieces).encode()),
        st.tuples(st.sampled_from(["duration", "rate", "workers", "seed", "warmup", "slo"]), st.text(max_size=20)).map(
            lambda pair: f"{pair[0]}: {pair[1]}".encode(errors="surrogatepass")
        ),
    ),
    value=st.text(),
)
def test_no_text_makes_the_loader_raise_anything_else(tmp_path: Path, content: bytes, value: str) -> None:
    """Whatever file and environment hold, it is a configuration or a PlanError that names the file."""
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    said = ""
    try:
        said = repr(load_configuration(path, {"A": value}))
    except PlanError as problem:
        said = str(problem).removeprefix(str(path))
    assert said
