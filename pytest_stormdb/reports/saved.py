"""Documents kept under ``.stormdb/NAME``, one a session, and a table for each workload that Apache Otava reads."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .shown import title_of
from .stored import load_document

FOLDER = ".stormdb"
METRICS = ("p50", "p95", "p99", "throughput")
COSTS = ("server.blocks_per_op", "server.rows_per_op", "server.wal_bytes_per_op")
_COLUMNS = ("time", "commit", *METRICS, *COSTS)


def save(document: Mapping[str, Any], folder: Path, commit: str = "") -> Path:
    """Keep a document beside those of earlier sessions, and add a line to each workload's table."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(path.stem) for path in _records(folder)), default=0)
    out = folder / f"{number:06}.json"
    out.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
    for run in document["runs"]:
        _append(folder / f"{_slug(title_of(run))}.csv", document["created"], commit, run)
    return out


def _append(table: Path, created: str, commit: str, run: Mapping[str, Any]) -> None:
    is_new = not table.exists()
    with table.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(_COLUMNS)
        writer.writerow([created, commit, *(figure(run, name) for name in (*METRICS, *COSTS))])


def _slug(nodeid: str) -> str:
    return re.sub(r"[^\w.-]+", "_", nodeid)


def _records(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.stem.isdigit())


def history(folder: Path) -> Iterator[dict[str, Any]]:
    """The documents kept there, the oldest first. Raises PlanError where one is damaged."""
    for path in _records(folder):
        yield load_document(path)


def figure(run: Mapping[str, Any], metric: str) -> float | None:
    """One figure of a run: seconds, per second, or per operation; None where the run has none."""
    if metric == "throughput":
        return run["totals"].get("throughput_per_s")  # type: ignore[no-any-return]
    if metric.startswith("server."):
        return (run.get("server_activity") or {}).get(metric.removeprefix("server."))
    return run["totals"]["response"].get(f"{metric}_s")  # type: ignore[no-any-return]


def fingerprint(document: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, str]:
    """What must be the same for two runs to be alike: the machine, the software, the server, the load."""
    environment, server, plan = document.get("environment") or {}, run.get("server") or {}, run.get("plan") or {}
    found = {name: environment.get(name) for name in ("python", "machine", "cpus", "psycopg", "libpq", "ci")}
    found |= {"PostgreSQL": server.get("version"), "embedded": server.get("embedded")}
    found |= {f"setting {name}": value for name, value in (server.get("settings") or {}).items()}
    found |= {name: value for name, value in plan.items() if name not in ("seed", "layout", "timeout_s")}
    return {name: str(value) for name, value in found.items() if value is not None}


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """What differs between two fingerprints, as ``cpus 4 -> 8``."""
    names = [*first, *(name for name in second if name not in first)]
    changed = [name for name in names if first.get(name) != second.get(name)]
    return [f"{name} {first.get(name, '-')} -> {second.get(name, '-')}" for name in changed]
