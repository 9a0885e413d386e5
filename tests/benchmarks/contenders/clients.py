"""Clients in Python without a load generator around them, each a program of its own.

``python -m tests.benchmarks.contenders.clients KIND LOAD CLIENTS SECONDS DSN`` prints one line of JSON: operations,
elapsed seconds, median and 99th percentile in seconds. Kinds: ``asyncpg`` (on uvloop), ``threads`` (psycopg).
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from .loads import BY_NAME, RANGES, Load


def draws(names: list[str]) -> list[int]:
    """Values for these arguments."""
    return [random.randint(*RANGES[name]) for name in names]


def psycopg_caller(load: Load, dsn: str) -> Callable[[], None]:
    """One operation by ``conn.execute`` on a connection of its own."""
    conn = psycopg.connect(dsn, autocommit=True)
    statements = [text for text, _ in load.with_placeholders()]
    used = sorted({name for _, names in load.numbered() for name in names})

    def call() -> None:
        values = dict(zip(used, draws(used), strict=True))
        for statement in statements:
            cursor = conn.execute(statement, values)
            if cursor.description:
                cursor.fetchone()

    return call


def run_threads(load: Load, clients: int, seconds: float, dsn: str) -> list[float]:
    """The durations of all operations of that many threads."""
    calls = [psycopg_caller(load, dsn) for _ in range(clients)]
    found: list[list[float]] = [[] for _ in calls]
    until_s = time.perf_counter() + seconds

    def work(call: Callable[[], None], durations: list[float]) -> None:
        while (started_s := time.perf_counter()) < until_s:
            call()
            durations.append(time.perf_counter() - started_s)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(calls, found, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [duration for durations in found for duration in durations]


async def run_asyncpg(load: Load, clients: int, seconds: float, dsn: str) -> list[float]:
    """The same of that many tasks on one event loop."""
    import asyncpg

    parts: dict[str, Any] = conninfo_to_dict(dsn)
    found: list[float] = []
    callers = []
    for _ in range(clients):
        conn = await asyncpg.connect(
            host=parts["host"], port=int(parts["port"]), user=parts["user"], database=parts["dbname"]
        )
        callers.append([(await conn.prepare(text), names) for text, names in load.numbered()])
    until_s = time.perf_counter() + seconds

    async def work(statements: list[tuple[Any, list[str]]]) -> None:
        while (started_s := time.perf_counter()) < until_s:
            for statement, names in statements:
                await statement.fetchval(*draws(names))
            found.append(time.perf_counter() - started_s)

    await asyncio.gather(*(work(statements) for statements in callers))
    return found


def main(kind: str, load: str, clients: str, seconds: str, dsn: str) -> None:
    """Run and print."""
    arguments = (BY_NAME[load], int(clients), float(seconds), dsn)
    if kind == "asyncpg":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            durations = runner.run(run_asyncpg(*arguments))
    else:
        durations = run_threads(*arguments)
    durations.sort()
    count = len(durations)
    quantiles = {"p50_s": durations[count // 2], "p99_s": durations[count * 99 // 100]}
    print(json.dumps({"operations": count, "elapsed_s": max(float(seconds), 1e-9), **quantiles}))


if __name__ == "__main__":
    main(*sys.argv[1:])
