"""What SQLAlchemy's dialects make of our URLs, put into the words of the driver behind each."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote, urlencode

from .url import UNDERSTOOD

_taught: set[object] = set()


def teach_sqlalchemy() -> None:
    """Let engines understand our URLs with every driver, where SQLAlchemy is loaded.

    Its dialects hand a URL's query to the driver as arguments, which asyncpg and pg8000 know by other names, if at all.
    """
    alchemy = sys.modules.get("sqlalchemy")
    if alchemy is None or alchemy in _taught:
        return
    _taught.add(alchemy)
    alchemy.event.listen(alchemy.engine.Engine, "do_connect", _translate)


def _translate(dialect: Any, record: object, positional: list[Any], named: dict[str, Any]) -> None:
    if dialect.driver == "asyncpg":
        given = {key: named.pop(key) for key in UNDERSTOOD if key in named}
        if given:
            named.setdefault("dsn", f"postgresql:///?{urlencode(given, quote_via=quote)}")
    elif dialect.driver == "pg8000" and str(named.get("host", "")).startswith("/"):
        named["unix_sock"] = f"{named.pop('host')}/.s.PGSQL.{named.pop('port', 5432)}"
