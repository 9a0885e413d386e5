"""The three loads that every contender runs, on the tables of ``pgbench -i``: what they are to each kind of client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SCALE = 10
ACCOUNTS = 100_000 * SCALE
SELECT = "SELECT abalance FROM pgbench_accounts WHERE aid = {aid}"
UPDATE = "UPDATE pgbench_accounts SET abalance = abalance + {delta} WHERE aid = {aid}"
RANGES = {"aid": (1, ACCOUNTS), "tid": (1, 10 * SCALE), "bid": (1, SCALE), "delta": (-5000, 5000)}


@dataclass(frozen=True, slots=True)
class Load:
    """Statements that make one operation; several are a transaction. ``{name}`` stands for a value of ``RANGES``."""

    name: str
    statements: Sequence[str]

    def numbered(self) -> list[tuple[str, list[str]]]:
        """Each statement with ``$1`` placeholders, and the names of its arguments."""
        found = []
        for statement in self.statements:
            names = [name for name in RANGES if f"{{{name}}}" in statement]
            found.append((statement.format(**{name: f"${names.index(name) + 1}" for name in names}), names))
        return found

    def with_placeholders(self) -> list[tuple[str, list[str]]]:
        """Each statement with ``%(name)s`` placeholders, and the names of its arguments."""
        return [(text.format(**{name: f"%({name})s" for name in RANGES}), names) for text, (_, names) in self._pairs()]

    def pgbench(self) -> str:
        """The script for pgbench."""
        used = [name for name in RANGES if any(f"{{{name}}}" in statement for statement in self.statements)]
        lines = [f"\\set {name} random({RANGES[name][0]}, {RANGES[name][1]})" for name in used]
        lines += [statement.format(**{name: f":{name}" for name in RANGES}) + ";" for statement in self.statements]
        return "\n".join(lines) + "\n"

    def _pairs(self) -> list[tuple[str, tuple[str, list[str]]]]:
        return list(zip(self.statements, self.numbered(), strict=True))


LOADS = (
    Load("select", (SELECT,)),
    Load("update", (UPDATE,)),
    Load(
        "tpcb",
        (
            "BEGIN",
            UPDATE,
            SELECT,
            "UPDATE pgbench_tellers SET tbalance = tbalance + {delta} WHERE tid = {tid}",
            "UPDATE pgbench_branches SET bbalance = bbalance + {delta} WHERE bid = {bid}",
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ({tid}, {bid}, {aid}, {delta}, now())",
            "END",
        ),
    ),
)
BY_NAME = {load.name: load for load in LOADS}
