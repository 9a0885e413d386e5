"""Psycopg under Locust: a user for each client, one operation a task, no waiting."""

from __future__ import annotations

import os
import time
from typing import Any

import gevent
from locust import User, events, task
from locust.env import Environment

from .clients import psycopg_caller
from .loads import BY_NAME

LOAD, DSN, SECONDS = BY_NAME[os.environ["PEERS_LOAD"]], os.environ["PEERS_DSN"], float(os.environ["PEERS_SECONDS"])


class Client(User):  # type: ignore[misc]  # Locust has no types
    """One client with a connection of its own."""

    def on_start(self) -> None:
        self.call = psycopg_caller(LOAD, DSN)

    @task  # type: ignore[untyped-decorator]
    def operate(self) -> None:
        started_s = time.perf_counter()
        self.call()
        self.environment.events.request.fire(
            request_type="sql",
            name=LOAD.name,
            response_time=(time.perf_counter() - started_s) * 1e3,
            response_length=0,
            exception=None,
            context={},
        )


def run(clients: int) -> dict[str, Any]:
    """Run for the time given; what Locust's own statistics say of it."""
    environment = Environment(user_classes=[Client], events=events)
    runner = environment.create_local_runner()
    runner.start(clients, spawn_rate=1000)
    gevent.sleep(0.2)  # until all are connected
    environment.stats.reset_all()
    gevent.sleep(SECONDS)
    total = environment.stats.total
    found = {
        "operations": total.num_requests,
        "elapsed_s": SECONDS,
        "p50_s": total.get_response_time_percentile(0.5) / 1e3,
        "p99_s": total.get_response_time_percentile(0.99) / 1e3,
    }
    runner.quit()
    return found
