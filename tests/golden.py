"""Texts kept in files, compared whole: `STORMDB_GOLDEN=update pytest ...` writes them anew, to be read as a diff."""

from __future__ import annotations

import os
from pathlib import Path

HOME = Path(__file__).parent / "golden_files"


def check(name: str, text: str) -> None:
    """Compare a text with the file of that name."""
    kept = HOME / name
    if os.environ.get("STORMDB_GOLDEN") == "update":
        HOME.mkdir(exist_ok=True)
        kept.write_text(text, encoding="utf-8")
    assert kept.is_file(), f"{kept} is missing; write it with STORMDB_GOLDEN=update"
    assert text == kept.read_text(encoding="utf-8")
