"""Plans of statements: each is really executed, with its parameters, in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ..errors import ServerError
from ..measurement.plan_tree import Plan
from .connect import server_error


@dataclass(frozen=True, slots=True)
class Explained:
    """The main statement of an operation, its values left out, with its plan; or why there is none."""

    operation: str
    statement: str = ""
    plan: Plan | None = None
    note: str = ""


_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
Parameters = Sequence[Any] | Mapping[str, Any] | None


def explain(conn: psycopg.Connection[Any], query: str, params: Parameters = None, *, raw: bool = False) -> Plan:
    """The plan of a statement with its parameters; ``raw`` ones are written ``$1``.

    What it writes is rolled back; sequences, and what it does outside the database, are not. Raises ServerError.
    """
    cursor: Any = psycopg.RawCursor(conn) if raw else conn.cursor()
    try:
        with conn.transaction(force_rollback=True), cursor:
            row = cursor.execute(_EXPLAIN + query, params).fetchone()
            return Plan.parse(row[0])
    except psycopg.Error as error:
        raise server_error(error, "cannot explain the statement") from None
    except (TypeError, ValueError, KeyError) as error:
        raise ServerError(f"cannot explain the statement: {error}") from None
