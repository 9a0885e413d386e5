"""The table of options as pytest knows it: flags, ini keys, and what the command line and the ini file say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..load.option import COMMAND_LINE, INI, MARK, NOT_GIVEN
from ..load.options import OPTIONS, option_named, options_of_items, said_in

if TYPE_CHECKING:
    from ..load.layers import Layer
    from ..load.option import Option, Said

MARKED = f"stormdb({', '.join(option.name for option in said_in(MARK))})"
"""The mark and its options, for those who ask pytest for its markers."""

ARM_LINE = "_STORMDB_ARM_LINE"
"""The variable that makes a session the other arm of somebody else's."""

SLO_OPTIONS = ("operation", "abort")
HEALTH_OPTIONS = ("interval", "timeout", "abort")


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini key."""
    tests = parser.getgroup("stormdb", "load tests for PostgreSQL (stormdb)")
    session = parser.getgroup("stormdb session", "load tests: target, verdicts, reports (stormdb)", after="stormdb")
    actions = {"bool": "store_true", "linelist": "append"}
    for option in said_in(COMMAND_LINE):
        how: dict[str, Any] = {"action": actions.get(option.kind.ini, "store")}
        if option.metavar is not None:
            how["metavar"] = option.metavar
        group = session if option.scope == "session" else tests
        group.addoption(option.flag, dest=option.key, default=None, help=option.plain_help, **how)
    for option in said_in(INI):
        parser.addini(option.key, option.plain_help, type=option.kind.ini, default=NOT_GIVEN)


def value_of(config: pytest.Config, name: str) -> Any:
    """An option of the session: the command line's word, else the ini file's, else the default, else NOT_GIVEN.

    A path is absolute: from the command line relative to where it was given, else to the ini file.
    Raises UsageError for what cannot be read.
    """
    option = option_named(name)
    beside_ini = config.inipath.parent if config.inipath is not None else config.invocation_params.dir
    said = (_on_command_line(config, option), config.invocation_params.dir), (config.getini(option.key), beside_ini)
    for given, base in said:
        if given is not NOT_GIVEN:
            return _located(option, base, _parsed(option, given))
    return option.parsed_default


def _parsed(option: Option, given: object) -> Any:
    from ..errors import PlanError

    try:
        return option.parse(given, option.flag)
    except PlanError as error:
        raise pytest.UsageError(str(error)) from None


def _located(option: Option, base: Path, value: Any) -> Any:
    if not option.kind.is_path:
        return value
    return absolute(base, value) if isinstance(value, str) else tuple(absolute(base, path) for path in value)


def absolute(base: Path, path: str | Path) -> Path:
    """As pytest does: without dots, and links as they are."""
    return Path(os.path.abspath(base / path))  # noqa: PTH100 - Path.absolute() keeps the dots


def _on_command_line(config: pytest.Config, option: Option) -> object:
    """The command line's word; before it is parsed as a whole, what is known of it so far.

    argparse has None for what is not given, which nobody can type.
    """
    for known in (config.option, config.known_args_namespace):
        given = getattr(known, option.key, None)
        if given is not None:
            return given
    return NOT_GIVEN


def command_line(config: pytest.Config) -> Layer:
    """What the command line says of what may differ from test to test."""
    options = [option for option in said_in(COMMAND_LINE) if option.scope != "session"]
    return "command line", {option.name: _on_command_line(config, option) for option in options}


def ini_file(config: pytest.Config) -> Layer:
    """What the ini file says of what may differ from test to test."""
    options = [option for option in said_in(INI) if option.scope != "session"]
    return "ini file", {option.name: config.getini(option.key) for option in options}


def is_given(config: pytest.Config) -> bool:
    """Whether anything is asked of us at all; of most suites nothing is, and they should not pay for it."""
    keys = [option.key for option in said_in(INI)]
    known = (vars(config.option), vars(config.known_args_namespace))
    return (
        ARM_LINE in os.environ
        or any(names.get(key) is not None for names in known for key in keys)
        or any(config.getini(key) is not NOT_GIVEN for key in keys)
    )


def check_early(config: pytest.Config) -> None:
    """Refuse what is wrong on the command line or in the ini file before anything is collected."""
    from ..configuration.parameters import parse_parameters
    from ..errors import PlanError
    from ..load.layers import resolve
    from ..load.plan import plan_of
    from ..verdict.threshold import Threshold

    try:
        plan_of(resolve(command_line(config), ini_file(config)))
        for expression in (*given_lines(config, COMMAND_LINE, "slo"), *given_lines(config, INI, "slo")):
            Threshold.parse(expression)
        parse_parameters(value_of(config, "param"))
    except PlanError as error:
        raise pytest.UsageError(str(error)) from None
    for option in OPTIONS:
        if option.name not in options_of_items():
            value_of(config, option.name)


def given_by(config: pytest.Config, source: Said, name: str) -> object:
    """What the command line or the ini file says of an option, as it is written there."""
    option = option_named(name)
    return _on_command_line(config, option) if source is COMMAND_LINE else config.getini(option.key)


def given_lines(config: pytest.Config, source: Said, name: str) -> tuple[str, ...]:
    """The lines that one source gives of an option whose sources add up."""
    given = given_by(config, source, name)
    return () if given is NOT_GIVEN else _parsed(option_named(name), given)
