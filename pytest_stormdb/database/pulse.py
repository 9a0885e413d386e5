"""What is looked at once a second: checkpoints, deadlocks, connections, and what autovacuum is at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ..realtime import perf_counter_ns
from .activity import Event

_PULSE = """
    SELECT {checkpoints}, (SELECT deadlocks FROM pg_stat_database WHERE datname = %s),
           count(*) FILTER (WHERE backend_type = 'client backend'),
           current_setting('max_connections')::int
    FROM pg_stat_get_activity(NULL)
"""
_CHECKPOINTS_14 = "(SELECT checkpoints_timed + checkpoints_req FROM pg_stat_bgwriter)"
_CHECKPOINTS_17 = "(SELECT num_timed + num_requested FROM pg_stat_checkpointer)"


@dataclass(frozen=True, slots=True)
class Pulse:
    """Counts at an instant; ``connections`` are of clients, ``limit`` is max_connections."""

    at_ns: int
    checkpoints: int
    deadlocks: int
    connections: int
    limit: int


def read_pulse(conn: psycopg.Connection[Any], database: str) -> Pulse:
    """How the server stands now."""
    checkpoints = _CHECKPOINTS_17 if conn.info.server_version >= 170000 else _CHECKPOINTS_14
    row = conn.execute(_PULSE.format(checkpoints=checkpoints), [database]).fetchall()[0]
    return Pulse(perf_counter_ns(), *(int(value or 0) for value in row))


def events_of(pulses: Sequence[Pulse], from_ns: int) -> Iterator[Event]:
    """The checkpoints and deadlocks that came between two pulses, at the instant of the later one."""
    for earlier, later in itertools.pairwise(pulses):
        at_s = (later.at_ns - from_ns) / 1e9
        for what, count in (
            ("checkpoint", later.checkpoints - earlier.checkpoints),
            ("deadlock", later.deadlocks - earlier.deadlocks),
        ):
            if count > 0:
                yield Event(at_s, what, "" if count == 1 else f"({count})")
