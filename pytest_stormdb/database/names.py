"""The names of what we make on a server: one for each workload, which PostgreSQL keeps whole."""

from __future__ import annotations

import hashlib
import re

PREFIX = "stormdb_"
MARK = "made by pytest-stormdb; dropped after the run"
"""The comment by which what we made is known as ours."""

_LONGEST = 63  # bytes, as PostgreSQL is built everywhere
_HASH_CHARS = 8


def own_name(workload: str, session: str = "") -> str:
    """``stormdb_<workload>``, with a hash of the whole name where that alone would not tell it from others.

    ``session`` is pytest-xdist's worker, of which each gets a name of its own.
    """
    whole = f"{workload}@{session}" if session else workload
    plain = re.sub(r"[^a-z0-9_]", "_", whole.lower())
    if plain == whole and len(PREFIX + plain) <= _LONGEST:
        return PREFIX + plain
    digest = hashlib.sha256(whole.encode(errors="surrogateescape")).hexdigest()[:_HASH_CHARS]
    return f"{PREFIX}{plain}"[: _LONGEST - _HASH_CHARS - 1] + f"_{digest}"
