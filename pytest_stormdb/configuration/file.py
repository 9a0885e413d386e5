"""The configuration file of a run: the guide's template and monitoring file, apart or together, typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import PlanError
from ..load.option import FILE, NOT_GIVEN, POSITIVE_DURATION
from ..load.options import said_in
from .fields import (
    Section,
    checked,
    choice,
    flag,
    listed,
    mapping,
    option_value,
    positive_duration_ns,
    secret,
    section,
    text,
    whole_number,
)
from .yaml_nodes import Value, load

LOAD_KEYS = tuple(key for option in said_in(FILE) for key in (option.name, *option.aliases))
DATABASE_KEYS = (
    "dsn",
    "host",
    "port",
    "database",
    "dbname",
    "user",
    "username",
    "password",
    "password_file",
    "sslmode",
)
METRICS_KEYS = ("enabled", "interval", "exporters")
LOGGING_KEYS = ("level", "format", "output")
HEALTH_KEYS = ("enabled", "interval", "timeout")
KEYS = ("plugin", "version", "parameters", "database", *LOAD_KEYS, "metrics", "logging", "health_checks")

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
EXPORTERS = ("prometheus", "json")
_MOST_PASSWORD_BYTES = 1 << 16
_SECOND = 10**9


@dataclass(frozen=True)
class DatabaseSection:
    """The server to load: a connection string, or its parts. What may hold a password is not in the repr."""

    dsn: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    dbname: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sslmode: str | None = None

    def connection_options(self) -> dict[str, str | int]:
        """The parts that are given, by libpq's names, to be joined with `dsn`."""
        return {name: value for name, value in vars(self).items() if value is not None and name != "dsn"}


@dataclass(frozen=True)
class MetricsSection:
    enabled: bool = True
    interval_ns: int = 10 * _SECOND
    exporters: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoggingSection:
    """`output` is a file, or None for the console."""

    level: str = "info"
    format: str = "text"
    output: Path | None = None


@dataclass(frozen=True)
class HealthSection:
    """`interval` and `timeout` are durations as they are written, checked."""

    enabled: bool = True
    interval: object = NOT_GIVEN
    timeout: object = NOT_GIVEN


@dataclass(frozen=True)
class Configuration:
    """What a configuration file says; a section is None where the file has none.

    `load` are the options it says, by their names in the table of options and written as there; `slo` are threshold
    expressions. `places` is where each key stands (``file:line`` of ``parameters.rows``), for errors found later;
    `written` is what stands there for values that came from variables, which may be secrets.
    """

    path: Path
    plugin: str | None = None
    version: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    database: DatabaseSection | None = None
    load: Mapping[str, object] = field(default_factory=dict)
    slo: tuple[str, ...] = ()
    metrics: MetricsSection | None = None
    logging: LoggingSection | None = None
    health_checks: HealthSection | None = None
    places: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    written: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def check_version(self, name: str, version: str | None) -> None:
        """Raises PlanError if this file is for the workload `name` (or any), but not in this `version`."""
        if self.plugin in (None, name) and self.version not in (None, version):
            place = self.places.get("version", str(self.path))
            found = f"the workload is {version}" if version is not None else "the workload has no version"
            raise PlanError(f"{place}: version: is for {name} {self.version}, but {found}")


def load_configuration(path: Path, environ: Mapping[str, str]) -> Configuration:
    """Reads a configuration file, with ``${VAR}`` from `environ`. PlanError for whatever is wrong with it."""
    root = load(path, PlanError, environ)
    elsewhere = [f"database.{key}" for key in DATABASE_KEYS]
    elsewhere += [f"metrics.{key}" for key in METRICS_KEYS] + [f"logging.{key}" for key in LOGGING_KEYS]
    top = section(root, KEYS, elsewhere)
    return Configuration(
        path=path,
        plugin=top.read("plugin", text),
        version=top.read("version", text),
        parameters=top.read("parameters", _parameters, {}),
        database=top.read("database", _database),
        load=_load(top),
        slo=top.read("slo", listed(text), ()),
        metrics=top.read("metrics", _metrics),
        logging=top.read("logging", _logging),
        health_checks=top.read("health_checks", _health_checks),
        places=dict(root.places()),
        written=dict(root.variables()),
    )


def _parameters(value: Value) -> dict[str, object]:
    return {key: entry.plain() for key, entry in mapping(value).items()}


def _load(top: Section) -> dict[str, object]:
    found: dict[str, object] = {}
    for option in said_in(FILE):
        keys = (option.name, *option.aliases)
        top.only_one(*keys)
        found.update((option.name, top.read(key, option_value(option))) for key in keys if key in top.entries)
    found.pop("slo", None)
    return found


def _database(value: Value) -> DatabaseSection:
    given = section(value, DATABASE_KEYS)
    for one, other in (("database", "dbname"), ("user", "username"), ("password", "password_file")):
        given.only_one(one, other)
    for part in ("host", "port", "database", "dbname", "user", "username", "sslmode"):
        given.only_one("dsn", part)
    return DatabaseSection(
        dsn=given.read("dsn", secret),
        host=given.read("host", text),
        port=given.read("port", whole_number(1, 65535)),
        dbname=given.read("database", text, given.read("dbname", text)),
        user=given.read("user", text, given.read("username", text)),
        password=given.read("password", secret, given.read("password_file", _password_file)),
        sslmode=given.read("sslmode", choice(*SSL_MODES)),
    )


def _password_file(value: Value) -> str:
    """The password in a file beside the configuration, without its last newline; no error quotes it."""
    try:
        with (value.file.parent / text(value)).open("rb") as file:
            content = file.read(_MOST_PASSWORD_BYTES + 1)
    except OSError as problem:
        raise value.refuse(f"cannot be read: {problem.strerror}") from None
    try:
        password = re.sub(r"\r?\n\Z", "", content.decode())
    except UnicodeDecodeError:
        raise value.refuse("does not hold UTF-8 text") from None
    if not password or "\0" in password or len(content) > _MOST_PASSWORD_BYTES:
        raise value.refuse("does not hold a password: it is empty, too long, or has a NUL character")
    return password


def _metrics(value: Value) -> MetricsSection:
    given = section(value, METRICS_KEYS)
    return MetricsSection(
        enabled=given.read("enabled", flag, MetricsSection.enabled),
        interval_ns=given.read("interval", positive_duration_ns, MetricsSection.interval_ns),
        exporters=given.read("exporters", listed(choice(*EXPORTERS)), MetricsSection.exporters),
    )


def _logging(value: Value) -> LoggingSection:
    given = section(value, LOGGING_KEYS)
    output = given.read("output", text)
    return LoggingSection(
        level=given.read("level", _log_level, LoggingSection.level),
        format=given.read("format", choice("text", "json"), LoggingSection.format),
        output=None if output is None else Path(output),
    )


def _log_level(value: Value) -> str:
    return "warning" if value.text == "warn" else choice(*LOG_LEVELS)(value)


def _health_checks(value: Value) -> HealthSection:
    given = section(value, HEALTH_KEYS)
    return HealthSection(
        enabled=given.read("enabled", flag, HealthSection.enabled),
        interval=given.read("interval", checked(POSITIVE_DURATION), NOT_GIVEN),
        timeout=given.read("timeout", checked(POSITIVE_DURATION), NOT_GIVEN),
    )
