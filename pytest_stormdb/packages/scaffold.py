"""The packaged workload that `stormdb new` writes: small, and good to start from. Its files are in ``template``."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from ..errors import PlanError
from .names import is_name, main_module_of

_FILES = {
    "NAME.yaml": "{name}.yaml",
    "test_NAME.py.txt": "{module}",  # no module of ours: linters and pytest would take it for one
    "README.md": "README.md",
    "examples/basic-config.yaml": "examples/basic-config.yaml",
    "examples/advanced-config.yaml": "examples/advanced-config.yaml",
}
"""The files of the template, and what they are called in a workload."""


def scaffold(name: str, into: Path) -> Path:
    """Writes a packaged workload to the new folder `into/name`. PlanError for a bad name, or if it exists."""
    if not is_name(name):
        raise PlanError(f"{name!r} is no name for a workload: letters and digits, joined by - or _, at most 48")
    folder = into / name
    if os.path.lexists(folder):
        raise PlanError(f"{folder}: exists already; choose another name, or remove it")
    try:
        (folder / "examples").mkdir(parents=True)
        for template, path in _FILES.items():
            content = (files(__package__) / "template" / template).read_text(encoding="utf-8")
            target = folder / path.format(name=name, module=main_module_of(name))
            target.write_text(content.replace("NAME", name), encoding="utf-8", newline="\n")
    except OSError as problem:
        raise PlanError(f"{folder}: cannot be written: {problem.strerror}") from problem
    return folder
