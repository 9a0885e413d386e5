"""The files that reports of a session go to. Imported in every session, so the reports themselves are not."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ..load.option import NOT_GIVEN
from .options import value_of

FILES = ("json", "html", "markdown")
"""Options that name a file, and the reports of the same names."""
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"


def can_write(text: str) -> bool:
    """Whether the terminal's encoding has these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (LookupError, UnicodeError):
        return False
    return True


def check_places(config: pytest.Config) -> None:
    """Refuse a report whose folder is not there before anything runs."""
    for name in FILES:
        path = value_of(config, name)
        if path is not NOT_GIVEN and not path.parent.is_dir():
            raise pytest.UsageError(f"--stormdb-{name}: {str(path)!r}: there is no such directory")


def wanted_reports(
    config: pytest.Config, *, has_runs: bool, environment: Mapping[str, str] = os.environ
) -> dict[str, Path]:
    """The reports that options ask for, by name; and under GitHub Actions the summary of the job, if anything ran.

    A session that measured nothing (``--collect-only``, ``--stormdb-smoke``) leaves the results of an earlier one.
    """
    wanted = {name: value_of(config, name) for name in FILES if value_of(config, name) is not NOT_GIVEN}
    if not has_runs:
        wanted = {name: path for name, path in wanted.items() if not path.is_file()}
    if has_runs and environment.get("GITHUB_ACTIONS") == "true" and environment.get(STEP_SUMMARY):
        wanted[STEP_SUMMARY] = Path(environment[STEP_SUMMARY])
    return wanted
