"""A database's tables: how large they are, what was done with them, and what autovacuum did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

_MOST = 200
_TABLES = """
    SELECT s.schemaname || '.' || s.relname, pg_relation_size(s.relid), pg_indexes_size(s.relid),
           s.n_live_tup, s.n_dead_tup, s.autovacuum_count, s.autoanalyze_count,
           s.seq_scan, coalesce(s.idx_scan, 0), s.n_tup_ins, s.n_tup_upd, s.n_tup_hot_upd, s.n_tup_del,
           extract(epoch FROM s.last_autovacuum)::float8, extract(epoch FROM s.last_autoanalyze)::float8
    FROM pg_stat_user_tables s
    WHERE s.relid IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'm') ORDER BY relpages DESC, oid LIMIT {most})
    ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table at an instant, or, ``since`` an earlier one: sizes and rows as they are, counts as they grew.

    The two instants are those of the last one, in seconds of the server's clock.
    """

    name: str
    table_bytes: int
    index_bytes: int
    live_rows: int
    dead_rows: int
    autovacuums: int
    autoanalyzes: int
    sequential_scans: int
    index_scans: int
    inserted: int
    updated: int
    hot_updated: int
    deleted: int
    autovacuum_at_s: float | None
    autoanalyze_at_s: float | None

    def since(self, earlier: Table) -> Table:
        counts = (
            "autovacuums", "autoanalyzes", "sequential_scans", "index_scans",
            "inserted", "updated", "hot_updated", "deleted",
        )  # fmt: skip
        values = {name: getattr(self, name) for name in self.__slots__}
        return Table(**values | {name: max(0, values[name] - getattr(earlier, name)) for name in counts})

    @property
    def was_used(self) -> bool:
        """Whether anything was done with it."""
        counts = (self.sequential_scans, self.index_scans, self.inserted, self.updated, self.deleted)
        return any((*counts, self.autovacuums, self.autoanalyzes))


def read_tables(conn: psycopg.Connection[Any]) -> Mapping[str, Table]:
    """The connection's database's 200 largest tables, by qualified name. Waits at most 2 s for a table's lock."""
    with conn.transaction():
        conn.execute("SET LOCAL lock_timeout = '2s'")
        rows = conn.execute(_TABLES.format(most=_MOST)).fetchall()
    return {row[0]: Table(*row) for row in rows}


def used(before: Mapping[str, Table], after: Mapping[str, Table]) -> tuple[Table, ...]:
    """What became of the tables that something was done with in between, the most written first."""
    grown = [table.since(before[name]) if name in before else table for name, table in after.items()]
    written = [table for table in grown if table.was_used]
    return tuple(sorted(written, key=lambda table: (-(table.inserted + table.updated + table.deleted), table.name)))
