"""Secrets of a session: which it knows, and that what pytest writes does not show them: reports, warnings, logs."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from _pytest.junitxml import xml_key

from ..load.option import NOT_GIVEN
from .options import value_of

NAME = "stormdb secrecy"
"""By which pytest knows this module as a plugin."""

_PASSWORD_VARIABLES = ("PGPASSWORD",)
_DSN_VARIABLES = ("STORMDB_DSN", "DATABASE_URL")
_DSN_OPTIONS = ("dsn", "admin_dsn")
_TEXTS = ("longrepr", "sections", "user_properties", "wasxfail")
_DSN_FIXTURES = ("stormdb_dsn", "stormdb_url")
_REDACTION = "pytest_stormdb.redaction"


def redacted(text: str) -> str:
    """As `redaction.redacted`, which most suites need not import: they have no secret, and write nothing like one."""
    if _REDACTION in sys.modules or "://" in text or "password" in text:
        from .. import redaction

        return redaction.redacted(text)
    return text


def learn_given(config: pytest.Config) -> None:
    """Hide what environment, command line and ini file give away."""
    passwords = [os.environ[name] for name in _PASSWORD_VARIABLES if name in os.environ]
    dsns = [os.environ[name] for name in _DSN_VARIABLES if os.environ.get(name)]
    dsns += [str(given) for name in _DSN_OPTIONS if (given := value_of(config, name)) is not NOT_GIVEN]
    if not passwords and not dsns:
        return
    from ..redaction import learn, learn_dsn

    for password in passwords:
        learn(password)
    for dsn in dsns:
        learn_dsn(dsn)


def learn_value(name: str, value: object) -> None:
    """Hide what a fixture's value holds, where it is a connection string."""
    if isinstance(value, str) and (name in _DSN_FIXTURES or value.startswith("postgres")):
        from ..redaction import learn_dsn

        learn_dsn(value)


def hide_in(report: Any) -> None:
    """Redact, where they stand, the texts of a report: its traceback, what was captured, its properties.

    Names of tests stay as they are, by which pytest and others know them.
    """
    hider = _Hider()
    for name in _TEXTS:
        if hasattr(report, name):
            setattr(report, name, hider.of(getattr(report, name)))


def hide_in_warning(message: warnings.WarningMessage) -> None:
    """Redact what a warning says."""
    shown = redacted(str(message.message))
    if shown != str(message.message):
        message.message = shown


def hide_in_error(error: BaseException) -> None:
    """Redact the words of an exception that pytest prints by itself, and of those that led to it."""
    for found in causes(error):
        found.args = tuple(redacted(word) if isinstance(word, str) else word for word in found.args)
        if isinstance(found, pytest.exit.Exception):
            found.msg = redacted(found.msg)


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it, also where pytest keeps one in an attribute."""
    found: Any = error
    while isinstance(found, BaseException):
        yield found
        found = getattr(found, "cause", None) or found.__cause__


def hide_in_logs(config: pytest.Config) -> None:
    """Redact the lines that pytest's logging writes to the terminal and to its file."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    for name in ("log_cli_handler", "log_file_handler"):
        handler = getattr(plugin, name, None)
        if isinstance(handler, logging.Handler):
            handler.setFormatter(_Redacting(handler.formatter or logging.Formatter()))


def hide_on_terminal(config: pytest.Config) -> None:
    """Redact whatever pytest and its plugins write to the terminal, headers and reasons to stop included."""
    if not config.pluginmanager.has_plugin("terminalreporter"):
        return
    writer: Any = config.get_terminal_writer()
    write = writer.write
    writer.write = lambda text, **markup: write(redacted(text), **markup)


def hide_in_properties(config: pytest.Config) -> None:
    """Redact the properties of the whole suite in the JUnit file; those of tests are in their reports."""
    if (junit := config.stash.get(xml_key, None)) is not None:
        junit.global_properties[:] = [(name, redacted(value)) for name, value in junit.global_properties]


def hide_in_debug_file(config: pytest.Config) -> None:
    """Redact what ``--debug`` wrote, which begins with the command line."""
    if config.option.debug:
        path = config.invocation_params.dir / config.option.debug
        path.write_text(redacted(path.read_text(encoding="utf-8")), encoding="utf-8")


@contextmanager
def hidden_errors() -> Iterator[None]:
    """Redact what is raised in here and printed without a report."""
    try:
        yield
    except BaseException as error:
        hide_in_error(error)
        raise


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    try:
        with hidden_errors():
            return (yield)
    finally:
        hide_in_debug_file(config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> Generator[None, None, None]:
    hide_in_logs(session.config)
    hide_on_terminal(session.config)
    with hidden_errors():
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    hide_in_properties(session.config)
    with hidden_errors():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Generator[None, object, object]:
    value = yield
    learn_value(fixturedef.argname, value)
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    hide_in(report)


@pytest.hookimpl(tryfirst=True)
def pytest_collectreport(report: pytest.CollectReport) -> None:
    hide_in(report)


@pytest.hookimpl(tryfirst=True)
def pytest_internalerror(excrepr: Any) -> None:
    _Hider().attributes(excrepr)


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    hide_in_warning(warning_message)


class _Redacting(logging.Formatter):
    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return redacted(self._inner.format(record))


class _Hider:
    """Goes through an object once, whatever shape a plugin gave it."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def attributes(self, thing: Any) -> None:
        values = getattr(thing, "__dict__", None)
        if not isinstance(values, dict) or id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        for name, value in list(values.items()):
            values[name] = self.of(value)

    def of(self, value: Any) -> Any:
        if isinstance(value, str):
            return redacted(value)
        if isinstance(value, list):
            value[:] = [self.of(entry) for entry in value]
        elif type(value) is tuple:
            return tuple(self.of(entry) for entry in value)
        elif isinstance(value, Mapping) and type(value) is dict:
            return {key: self.of(entry) for key, entry in value.items()}
        elif type(value).__module__.startswith("_pytest.") and not isinstance(value, pytest.Config | pytest.Collector):
            self.attributes(value)
        return value


def __dir__() -> list[str]:
    """What there is here for pytest, which looks at each of a plugin's names three times."""
    return [name for name in globals() if name.startswith("pytest_")]
