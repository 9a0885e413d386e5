"""A run record read back from the file it was written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import PlanError

_FORMAT = "stormdb-run/"
_READS = 1


def load_document(path: Path) -> dict[str, Any]:
    """The document in a file that ``--stormdb-json`` wrote. Raises PlanError where it is none, or of a later format."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path}: is no JSON: {error}") from None
    written = found.get("format") if isinstance(found, dict) else None
    if not isinstance(written, str) or not written.startswith(_FORMAT):
        raise PlanError(f"{path}: is no run record; one is written by pytest --stormdb-json={path.name}")
    if written != f"{_FORMAT}{_READS}":
        raise PlanError(f"{path}: has the format {written!r}; this version of pytest-stormdb reads {_FORMAT}{_READS}")
    if not isinstance(found.get("runs"), list):
        raise PlanError(f"{path}: key 'runs' is missing or no list; the file is damaged")
    return dict(found)
