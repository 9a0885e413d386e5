"""The configuration file of a session: read, and refused before anything is collected where it makes no sense."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ..errors import PlanError, StormDBError
from ..load.option import NOT_GIVEN
from ..redaction import learn, learn_dsn
from .options import value_of

if TYPE_CHECKING:
    from ..configuration.file import Configuration


def configuration_of(config: pytest.Config) -> Configuration | None:
    """The file that ``--stormdb-config`` names. Raises UsageError."""
    path = value_of(config, "config")
    if path is NOT_GIVEN:
        return None
    from ..configuration.file import load_configuration

    try:
        found = load_configuration(path, os.environ)
        _check(found)
        return found
    except StormDBError as error:
        raise pytest.UsageError(f"--stormdb-config: {error}") from None


def _check(found: Configuration) -> None:
    """Raise PlanError for what a file says of a run, where that makes no sense by itself."""
    from ..load.layers import resolve
    from ..load.plan import plan_of
    from ..verdict.threshold import Threshold

    _check_database(found)
    plan_of(resolve((str(found.path), found.load)))
    for index, expression in enumerate(found.slo):
        try:
            Threshold.parse(expression)
        except PlanError as error:
            raise PlanError(f"{found.places[f'slo.{index}']}: slo.{index}: {error}") from None


def _check_database(found: Configuration) -> None:
    """Raise ServerError for a connection string that libpq cannot read; from here on its secrets are hidden."""
    if found.database is None:
        return
    learn(found.database.password)
    if found.database.dsn is not None:
        from ..database.connect import parse_dsn

        learn_dsn(found.database.dsn)
        parse_dsn(found.database.dsn, f"{found.places['database.dsn']}: database.dsn")
