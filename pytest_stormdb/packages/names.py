"""The names of packaged workloads: which are allowed, which are the same, and what files they stand for."""

from __future__ import annotations

import re

LONGEST = 48
"""Its database is ``stormdb_<name>``, and PostgreSQL cuts an identifier at 63 bytes."""

_NAME = r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*"


def is_name(name: str) -> bool:
    """Whether a packaged workload may be called so."""
    return re.fullmatch(_NAME, name) is not None and len(name) <= LONGEST


def folded(name: str) -> str:
    """The name without what does not tell two workloads apart: case, and whether it has - or _."""
    return name.replace("-", "_").lower()


def main_module_of(name: str) -> str:
    """The file name of a workload's main module: ``test_my_plugin.py`` of ``my-plugin``."""
    return f"test_{name.replace('-', '_')}.py"
