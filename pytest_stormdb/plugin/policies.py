"""What a session demands of packaged workloads; what is judged has no say in it."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ..errors import WorkloadError
from ..load.option import NOT_GIVEN, Option
from ..load.options import option_named
from .lookout import may_hold_workload
from .options import absolute, value_of

_FROM_CONTROLLER = "stormdb_policies"


class Policies(NamedTuple):
    """``off``, ``verify`` or ``require`` for checksums and for signatures, and the file of the keys that count."""

    checksums: Any
    signatures: Any
    keyring: str | None


def policies(config: pytest.Config) -> Policies:
    """The session's policies; a process of pytest-xdist has those of its controller. Raises UsageError."""
    handed_down = getattr(config.option, _FROM_CONTROLLER, None)
    if handed_down is not None:
        return Policies(*handed_down)
    found = _stated(config)
    setattr(config.option, _FROM_CONTROLLER, tuple(found))
    return found


def _stated(config: pytest.Config) -> Policies:
    read = _typed if ini_is_packaged(config) else value_of
    checksums, signatures, keyring = (read(config, name) for name in ("checksums", "signatures", "keyring"))
    if signatures is NOT_GIVEN:
        signatures = "verify" if keyring is not NOT_GIVEN and checksums != "off" else "off"
    if signatures != "off" and keyring is NOT_GIVEN:
        raise pytest.UsageError(f"--stormdb-signatures={signatures} needs --stormdb-keyring FILE")
    if signatures != "off" and checksums == "off":
        raise pytest.UsageError(
            f"--stormdb-signatures={signatures} needs checksums, which a signature is over;"
            " leave --stormdb-checksums=off out"
        )
    return Policies(checksums, signatures, None if keyring is NOT_GIVEN else str(keyring))


def ini_is_packaged(config: pytest.Config) -> bool:
    """Whether the ini file, which pytest takes from beside its arguments, belongs to a packaged workload."""
    return config.inipath is not None and any(_is_package(folder) for folder in config.inipath.parents)


def _is_package(folder: Path) -> bool:
    if not may_hold_workload(str(folder)):
        return False
    from ..packages.discovery import recognise

    try:
        return recognise(folder) is not None
    except WorkloadError:
        return True


def _typed(config: pytest.Config, name: str) -> Any:
    """An option as it was typed, on the command line or in PYTEST_ADDOPTS, whatever the ini file says or adds."""
    option = option_named(name)
    typed = list(_typed_values(config, option))
    if not typed:
        return option.parsed_default
    value = option.parse(typed[-1], option.flag)
    return absolute(config.invocation_params.dir, value) if option.kind.is_path else value


def _typed_values(config: pytest.Config, option: Option) -> Iterator[str]:
    """What was typed for an option, the strongest last."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(option.flag, dest="flags", action="append", default=[])
    parser.add_argument("-o", "--override-ini", dest="settings", action="append", default=[])
    words = shlex.split(os.environ.get("PYTEST_ADDOPTS", "")) + [str(word) for word in config.invocation_params.args]
    typed, _ = parser.parse_known_args(words)
    settings = (setting.partition("=") for setting in typed.settings)
    yield from (value for key, _, value in settings if key == option.key)
    yield from typed.flags
