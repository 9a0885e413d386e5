"""A little load of threads that keep the bargain with an observer: flush when told, keep the spans of looks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns, sleep
from typing import Any

import psycopg

from pytest_stormdb.database.activity import Observation, ServerActivity, WorkersAccount, account_for
from pytest_stormdb.database.costs import BackendWork, flush_counters, own_work
from pytest_stormdb.database.observer import Observer
from pytest_stormdb.measurement.attribution import Span

NAME = "stormdb observed"


@dataclass
class Marks:
    """What the workers share with the observer."""

    measured_from_ns: int = 0
    looked_ns: int = 0

    def mark(self, instant_ns: int) -> None:
        self.looked_ns = instant_ns


@dataclass
class Worker:
    """One session that repeats an operation, and what it has to say in the end."""

    conn: psycopg.Connection[Any]
    responses_ns: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    ended: BackendWork | None = None

    def run(self, operation: Callable[[psycopg.Connection[Any]], object], marks: Marks, until_ns: int) -> None:
        while perf_counter_ns() < marks.measured_from_ns:
            sleep(0.001)
        flush_counters(self.conn.pgconn)
        while (started := perf_counter_ns()) < until_ns:
            operation(self.conn)
            finished = perf_counter_ns()
            self.responses_ns.append(finished - started)
            if marks.looked_ns >= started:
                self.spans.append(Span(started, started, finished))
        self.ended = own_work(self.conn.pgconn)
        self.conn.close()


@dataclass(frozen=True)
class Observed:
    """What an observer saw, the account that follows, and how many operations there really were."""

    seen: Observation
    activity: ServerActivity
    operations: int


def observe(
    dsn: str,
    workload_dsn: str,
    operation: Callable[[psycopg.Connection[Any]], object],
    *,
    workers: int = 4,
    duration_s: float = 2.0,
    has_warmup: bool = False,
) -> Observed:
    """Repeat an operation in some sessions while an observer watches them."""
    team = [Worker(psycopg.connect(workload_dsn, autocommit=True, application_name=NAME)) for _ in range(workers)]
    marks, pids = Marks(), {worker.conn.info.backend_pid: number for number, worker in enumerate(team)}
    observer = Observer(dsn, workload_dsn, NAME, pids=pids, marks=marks, has_warmup=has_warmup)
    with observer.during():
        marks.measured_from_ns = perf_counter_ns() + 20_000_000
        until_ns = marks.measured_from_ns + round(duration_s * 1e9)
        threads = [threading.Thread(target=worker.run, args=(operation, marks, until_ns)) for worker in team]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    responses_ns = sorted(response for worker in team for response in worker.responses_ns)
    counts_backends = any(worker.ended is not None for worker in team)
    account = WorkersAccount(
        spans={number: worker.spans for number, worker in enumerate(team)},
        ended=[worker.ended for worker in team] if counts_backends else [],
        own_transactions=2 * workers if counts_backends else 0,
    )
    activity = account_for(
        observer.result(),
        account,
        operations=len(responses_ns),
        response_s=sum(responses_ns) / 1e9,
        slow_from_s=responses_ns[int(0.95 * len(responses_ns))] / 1e9,
    )
    return Observed(observer.result(), activity, len(responses_ns))
