"""Ours and its peers on one server in alternating rounds: throughput, what the client costs, and latencies.

Run by hand on an idle machine: ``python -m tests.benchmarks.peers [--rounds N] [--seconds N] [--json FILE]``; it takes
less than ten minutes. ``pip install -e ".[peers]"`` and ``apt install sysbench`` bring the peers in.

CPU time is user and system of the client's processes only. What a tool takes to start and to end is measured with a run
as short as can be, and taken off: a run of seconds is to show what minutes would. Figures are medians of the rounds,
with their range; ratios are to pgbench's in the same round, since the machine's mood is that of a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_stormdb.embedded.server import EmbeddedServer

from .contenders.loads import LOADS, SCALE, Load
from .contenders.tools import Found, Tool, installed, pgbench_program
from .footprint import footprint

CLIENTS = (1, 10, 50)
SETTINGS = {"autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "8GB"}


@dataclass(frozen=True, slots=True)
class Row:
    """One tool under one load: medians over the rounds, and the ratios to pgbench's with their range."""

    load: str
    clients: int
    tool: str
    per_s: float
    cpu_us: float
    p50_ms: float | None
    p99_ms: float | None
    throughput_ratio: tuple[float, float, float]
    cpu_ratio: tuple[float, float, float]
    p50_ratio: float | None
    p99_ratio: float | None


def contest(load: Load, clients: int, tools: Sequence[Tool], dsn: str, seconds: float, rounds: int) -> list[Row]:
    """All tools in turns, so that each sees the machine as the others do."""
    asked = [tool for tool in tools if load.name in tool.loads and clients in tool.clients]
    shortest = {tool.name: _middle([tool.run(load, clients, 0, dsn) for _ in range(3)]) for tool in asked}
    found: dict[str, list[Found]] = {tool.name: [] for tool in asked}
    for _ in range(rounds):
        for tool in asked:
            found[tool.name].append(tool.run(load, clients, seconds, dsn))
    cpu_us = {name: [_cpu_us(run, shortest[name]) for run in runs] for name, runs in found.items()}
    return [_row(load, clients, name, found, cpu_us) for name in found]


def _middle(runs: Sequence[Found]) -> Found:
    return sorted(runs, key=lambda run: run.cpu_s)[len(runs) // 2]


def _cpu_us(run: Found, shortest: Found) -> float:
    """CPU time of an operation beyond what the tool takes to start and to end."""
    return (run.cpu_s - shortest.cpu_s) / (run.operations - shortest.operations) * 1e6


def _row(load: Load, clients: int, name: str, found: dict[str, list[Found]], cpu_us: dict[str, list[float]]) -> Row:
    runs, pgbench = found[name], found["pgbench"]
    per_s = [run.operations / run.elapsed_s for run in runs]
    base_per_s = [run.operations / run.elapsed_s for run in pgbench]
    p50_ms, p99_ms = (_milliseconds(runs, quantile) for quantile in ("p50_s", "p99_s"))
    base_p50_ms, base_p99_ms = (_milliseconds(pgbench, quantile) for quantile in ("p50_s", "p99_s"))
    return Row(
        load.name,
        clients,
        name,
        statistics.median(per_s),
        statistics.median(cpu_us[name]),
        p50_ms,
        p99_ms,
        _ratio(per_s, base_per_s),
        _ratio(cpu_us[name], cpu_us["pgbench"]),
        p50_ms / base_p50_ms if p50_ms and base_p50_ms else None,
        p99_ms / base_p99_ms if p99_ms and base_p99_ms else None,
    )


def _milliseconds(runs: Sequence[Found], quantile: str) -> float | None:
    values = [getattr(run, quantile) for run in runs]
    return None if None in values else statistics.median(values) * 1e3


def _ratio(values: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and greatest of the ratios of the rounds."""
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def table(rows: Sequence[Row]) -> str:
    """The figures for people."""
    lines = [
        f"{'load':7} {'clients':>7}  {'tool':18} {'per second':>10} {'x pgbench':>18} {'CPU us':>7} {'x pgbench':>18}"
        f" {'p50 ms':>7} {'x':>5} {'p99 ms':>7} {'x':>5}"
    ]
    for row in rows:
        lines.append(
            f"{row.load:7} {row.clients:7}  {row.tool:18} {row.per_s:10,.0f} {_shown(row.throughput_ratio)}"
            f" {row.cpu_us:7.1f} {_shown(row.cpu_ratio)} {_number(row.p50_ms, 7, 3)} {_number(row.p50_ratio, 5, 2)}"
            f" {_number(row.p99_ms, 7, 3)} {_number(row.p99_ratio, 5, 2)}"
        )
    return "\n".join(lines)


def _shown(ratio: tuple[float, float, float]) -> str:
    middle, low, high = ratio
    return f"{middle:5.2f} ({low:.2f}..{high:.2f})".rjust(18)


def _number(value: float | None, width: int, digits: int) -> str:
    return "-".rjust(width) if value is None else f"{value:{width}.{digits}f}"


def main() -> None:
    """Everything, one table, one file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--loads", nargs="*", default=[load.name for load in LOADS])
    parser.add_argument("--clients", nargs="*", type=int, default=list(CLIENTS))
    parser.add_argument("--json", type=Path, default=Path("peers.json"))
    parser.add_argument("--no-footprint", action="store_true")
    arguments = parser.parse_args()
    program = pgbench_program()
    if program is None:
        sys.exit("there is no pgbench: it comes with PostgreSQL's client programs")
    tools, rows = installed(), []
    with EmbeddedServer.start(max_connections=600, settings=SETTINGS) as server:
        subprocess.run([program, "-i", "-q", f"-s{SCALE}", server.dsn], check=True, capture_output=True)
        for load in LOADS:
            for clients in arguments.clients if load.name in arguments.loads else ():
                found = contest(load, clients, tools, server.dsn, arguments.seconds, arguments.rounds)
                print(table(found) + "\n", flush=True)
                rows += found
        lines = {} if arguments.no_footprint else footprint(server.dsn)
    for name, value in lines.items():
        print(f"{name:60} {value:,.2f}")
    arguments.json.write_text(json.dumps({"contest": [asdict(row) for row in rows], "footprint": lines}, indent=1))


if __name__ == "__main__":
    main()
