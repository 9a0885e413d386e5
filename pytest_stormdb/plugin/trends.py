"""``--stormdb-save`` and ``--stormdb-compare``: this session beside those that were kept before it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..load.option import NOT_GIVEN
from ..record import SessionRecord
from ..reports.document import document
from ..reports.saved import FOLDER, history, save
from ..reports.trend import trend
from .options import value_of

_COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")


def beside_earlier(config: pytest.Config, record: SessionRecord) -> Iterator[str]:
    """Lines on the sessions of ``--stormdb-compare``; then this one is kept for ``--stormdb-save``. Raises PlanError
    where a kept one is damaged, and OSError where nothing can be written."""
    found = document(record)
    name = value_of(config, "compare")
    if name is not NOT_GIVEN:
        yield from trend(found, list(history(_folder(config, name))), name, value_of(config, "margin"))
    name = value_of(config, "save")
    if name is not NOT_GIVEN and record.runs:
        out = save(found, _folder(config, name), _commit(config.rootpath))
        yield f"saved as {out.relative_to(config.rootpath)}"


def _folder(config: pytest.Config, name: str) -> Path:
    return config.rootpath / FOLDER / name


def _commit(directory: Path) -> str:
    """The revision that is tested, as CI says or git; empty where nobody knows."""
    told = next((os.environ[name] for name in _COMMITS if os.environ.get(name)), "")
    if told:
        return told
    command = ["git", "-C", str(directory), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - ours
    except FileNotFoundError:
        return ""
