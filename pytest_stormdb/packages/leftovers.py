"""What tools leave in a folder by themselves: named where it breaks a seal, with the way out."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath

_FOLDERS = {
    ".pytest_cache": "pytest's cache; remove the folder",
    ".hypothesis": "hypothesis's examples; remove the folder",
    ".mypy_cache": "mypy's cache; remove the folder",
    ".ruff_cache": "ruff's cache; remove the folder",
    "__pycache__": "not bytecode, which alone may lie here; remove it",
    ".idea": "an editor's settings; remove the folder",
    ".vscode": "an editor's settings; remove the folder",
} | dict.fromkeys(
    (".git", ".hg", ".svn", ".jj", ".bzr"),
    "version control, which changes by itself; seal and run an export without it, or keep the workload a folder below",
)
_FILES = {
    "*~": "an editor's backup; remove it",
    ".*.sw?": "an editor's; close the file there, or remove it",
    "#*#": "an editor's; save the file there, or remove it",
    ".#*": "an editor's; save the file there, or remove it",
    ".DS_Store": "the file manager's; remove it",
    "Thumbs.db": "the file manager's; remove it",
    "stormdb-metrics.jsonl": "metrics of a run; remove it, and start runs from another folder",
}


def leftover(path: str) -> tuple[str, str]:
    """The file or whole folder that a tool left, and the way out; the path and nothing where it is none's."""
    parts = PurePosixPath(path).parts
    for depth, part in enumerate(parts[:-1], 1):
        if part in _FOLDERS:
            whole = path if part == "__pycache__" else f"{'/'.join(parts[:depth])}/"
            return whole, _FOLDERS[part]
    return path, next((way_out for pattern, way_out in _FILES.items() if fnmatchcase(parts[-1], pattern)), "")
