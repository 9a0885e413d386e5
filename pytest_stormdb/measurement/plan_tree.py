"""An execution plan as an object that tests can ask: which indexes, which scans, how many blocks and rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_INDEX_SCANS = ("Index Scan", "Index Only Scan", "Bitmap Index Scan")
_SHAPE = (
    "Node Type", "Strategy", "Partial Mode", "Operation", "Join Type", "Parent Relationship", "Subplan Name",
    "Schema", "Relation Name", "Alias", "Index Name", "CTE Name", "Function Name", "Scan Direction", "Sort Key",
    "Presorted Key", "Group Key", "Command",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``EXPLAIN (ANALYZE, BUFFERS)`` said of a statement. Costs are estimates, and nothing here shows them."""

    root: Mapping[str, Any]
    execution_s: float

    @classmethod
    def parse(cls, document: Any) -> Plan:
        """From EXPLAIN's JSON, as text or already loaded. Raises ValueError for anything else."""
        loaded = json.loads(document) if isinstance(document, str | bytes) else document
        try:
            return cls(loaded[0]["Plan"], loaded[0].get("Execution Time", 0.0) / 1000)
        except (TypeError, KeyError, IndexError):
            raise ValueError("this is no plan: EXPLAIN (FORMAT JSON) gives a list with one 'Plan'") from None

    def nodes(self) -> Iterator[Mapping[str, Any]]:
        """All nodes, a parent before its children."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.get("Plans", ())))

    def uses(self, index: str) -> bool:
        """Whether an index is used, by any of its scans: index, index-only and bitmap."""
        return any(node.get("Index Name") == index and node["Node Type"] in _INDEX_SCANS for node in self.nodes())

    def scans(self, table: str) -> bool:
        """Whether a table is read sequentially."""
        return any(node.get("Relation Name") == table and node["Node Type"] == "Seq Scan" for node in self.nodes())

    @property
    def blocks(self) -> int:
        """The blocks that were touched, hit and read, of tables, indexes and temporary tables."""
        names = ("Shared Hit Blocks", "Shared Read Blocks", "Local Hit Blocks", "Local Read Blocks")
        return sum(int(self.root.get(name, 0)) for name in names)

    @property
    def rows(self) -> int:
        """The rows that the statement gave."""
        return round(float(self.root.get("Actual Rows", 0)) * int(self.root.get("Actual Loops", 1)))

    @property
    def fingerprint(self) -> str:
        """The same for plans of the same shape, whatever they cost and however many rows they meet."""
        return hashlib.sha256(json.dumps(_shape(self.root)).encode()).hexdigest()[:16]

    @property
    def lines(self) -> list[str]:
        """The plan as a tree of text, with what was really met."""
        return list(_drawn(self.root, 0))

    def __str__(self) -> str:
        return "\n".join(self.lines)


def _shape(node: Mapping[str, Any]) -> list[Any]:
    own = {name: node[name] for name in _SHAPE if name in node}
    return [own, [_shape(child) for child in node.get("Plans", ())]]


def _drawn(node: Mapping[str, Any], depth: int) -> Iterator[str]:
    index = f" using {node['Index Name']}" if "Index Name" in node else ""
    relation = f" on {node['Relation Name']}" if "Relation Name" in node else ""
    blocks = node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0)
    met = f"rows {node.get('Actual Rows', 0):g}, loops {node.get('Actual Loops', 0)}, blocks {blocks}"
    yield f"{'  ' * depth}{node['Node Type']}{index}{relation}  ({met})"
    for child in node.get("Plans", ()):
        yield from _drawn(child, depth + 1)
