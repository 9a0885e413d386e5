"""Documents made by hand, for the tests of what renders them."""

from __future__ import annotations

import functools
import math
import random
from typing import Any

from pytest_stormdb.measurement.histogram import Histogram
from pytest_stormdb.record import SessionRecord
from pytest_stormdb.reports.document import document

from ..records import plain_record, rich_record


@functools.cache
def histogram(count: int, median_s: float, spread: float, seed: int = 1) -> Histogram:
    """Log-normal durations; not to be changed, since it is shared."""
    rng = random.Random(seed)
    made = Histogram()
    made.record_many([round(1e9 * median_s * math.exp(rng.gauss(0, spread))) for _ in range(count)])
    return made


def long_run(seconds: int = 60, name: str = "test_bank.py::test_transfer") -> dict[str, Any]:
    """An open-loop run with a stall in its middle, checkpoints, waits and statements."""
    rng = random.Random(7)
    response, service = histogram(61_204, 0.004, 0.7), histogram(61_204, 0.0035, 0.5, 2)
    timeline = []
    for second in range(seconds):
        slow = 8.0 if second % 25 == 12 else rng.uniform(0.9, 1.1)
        p50_s = 0.004 * slow
        count = round(1000 / slow) if slow > 2 else rng.randint(990, 1010)
        latencies = {"p50_s": p50_s, "p95_s": 3 * p50_s, "p99_s": 5 * p50_s}
        failures = 7 if slow > 2 else 0
        timeline.append({"at_s": float(second), "operations": count, "failures": failures, **latencies})
    latency = {"mean_s": 0.005, "min_s": 0.0004, "p50_s": 0.004, "p90_s": 0.0098, "p95_s": 0.0127, "p99_s": 0.0204}
    latency |= {"p99_9_s": 0.035, "max_s": 0.0717}
    figures = {"throughput_per_s": 1020.1, "response": latency, "service": latency, "lag": latency}
    error = {"code": "40001", "count": 14, "example": "could not serialize access due to concurrent update"}
    operation = {"count": 61_204, "failures": 14, "errors": [error], "is_part": False, **figures}
    operation["aborts"] = [{"reason": "insufficient funds", "count": 321}]
    return {
        "nodeid": name,
        "workload": {"name": "bank", "version": "1.2.0", "integrity": "verified"},
        "plan": {"workers": 10, "duration_s": float(seconds), "warmup_s": 5.0, "rate_per_s": 1000.0, "seed": 42}
        | {"arrivals": "poisson", "processes": 10},
        "forked": True,
        "outcome": "failed",
        "reasons": ["p99 20.4 ms is not < 20 ms: certain (test_transfer, 10 workers, 61,204 operations)"],
        "elapsed_s": float(seconds),
        "totals": {"operations": 61_204, "failures": 14, "aborts": 321, "retries": 3, "dropped": 0, **figures},
        "operations": {
            "test_transfer": operation | {"histogram": response.encode(), "service_histogram": service.encode()}
        },
        "stages": [
            {"label": "10 workers for 30 s", "duration_s": 30.0, "operations": 30_000, "failures": 0, **figures},
            {"label": "10->50 workers for 30 s", "duration_s": 30.0, "operations": 31_204, "failures": 14, **figures},
        ],
        "timeline": timeline,
        "thresholds": [
            {"expression": "p99 < 20ms", "operation": None, "verdict": "fail", "estimate": 0.0204, "low": 0.0201}
            | {"high": 0.0209, "limit": 0.02, "reason": "certain"},
            {
                "expression": "errors < 0.1%",
                "operation": None,
                "verdict": "pass",
                "estimate": 0.0002287,
                "limit": 0.001,
            },
        ],
        "health": [
            {"check": "connect", "when": "before", "ok": True, "detail": "fine", "at_s": None},
            {"check": "replication lag", "when": "during", "ok": False, "detail": "12 s behind", "at_s": 40.0},
        ],
        "metrics": {"rows": {"kind": "counter", "value": 122408.0, "count": 61204, "min": 2.0, "max": 2.0}},
        "server_activity": {
            "cause": "72 % of response time waits on Lock:transactionid (slowest 5 %: 96 %)",
            "blocks_per_op": 17.9,
            "wal_bytes_per_op": 159.7,
            "hit_ratio": 0.9987,
            "waits": [
                {
                    "event": "Lock:transactionid",
                    "share": 0.72,
                    "low_share": 0.69,
                    "slowest_share": 0.96,
                    "samples": 509,
                },
                {"event": "CPU*", "share": 0.11, "low_share": 0.05, "slowest_share": None, "samples": 30},
            ],
            "wait_timeline": [{"at_s": second, "Lock": 40 + second % 5, "CPU*": 7} for second in range(seconds)],
            "blockers": [
                {"query": "COMMIT", "state": "active", "is_ours": True, "waiting": "UPDATE account", "times": 39}
            ],
            "database": {"commits": 61_204, "temp_bytes": 8192},
            "io": [{"what": "client backend, relation, normal", "hits": 67668, "read_bytes": 1220608}],
            "statements": [{"query": "UPDATE account SET balance = $1 WHERE id = $2", "calls": 6120, "mean_s": 0.0021}],
            "tables": [{"name": "account", "table_bytes": 491520, "dead_rows": 173}],
            "events": [{"at_s": 12.2, "kind": "checkpoint", "detail": "requested"}],
            "notes": ["a note on <what> could not be read"],
        },
        "explained": {"operation": "test_transfer", "statement": "UPDATE account", "plan": {"Node Type": "Index Scan"}},
        "noise": {
            "windows": [
                {"from_s": -1.0, "to_s": 3.0, "clean": False},
                {"from_s": 3.0, "to_s": 5.5, "clean": False},
                {"from_s": 5.5, "to_s": 50.0, "clean": True},
                {"from_s": 50.0, "to_s": 70.0, "clean": False},
            ]
        },
        "validity": {"valid": True, "findings": ["a garbage collection in a worker took 2.00 ms"]},
        "lost": [],
    }


def comparison() -> dict[str, Any]:
    """Thirty-eight pairs that end in a verdict."""
    rng = random.Random(3)
    effects = []
    for pair in range(1, 39):
        width = 0.6 / math.sqrt(pair)
        ratio = 1.17 + rng.gauss(0, 0.08)
        effects.append({"epoch": pair % 3, "ratio": ratio, "low": 1.17 - width, "high": 1.17 + width})
    return {
        "nodeid": "test_bank.py::test_new_index",
        "metric": "p95",
        "margin": 0.10,
        "verdict": "slower",
        "ratio": 1.17,
        "low": 1.12,
        "high": 1.23,
        "detectable": 0.06,
        "pairs": 38,
        "epochs": 3,
        "seed": 5,
        "elapsed_s": 41.5,
        "arms": ["old", "new"],
        "effects": effects,
        "histograms": [histogram(9000, 0.004, 0.5, 4).encode(), histogram(9000, 0.0047, 0.5, 5).encode()],
    }


def sweep() -> dict[str, Any]:
    """Seven points near a law with a peak."""
    points = []
    for workers in (1, 2, 4, 8, 16, 32, 64):
        rate = 500 * workers / (1 + 0.03 * (workers - 1) + 0.0008 * workers * (workers - 1))
        latency = {"p50_s": workers / rate * 0.9, "p99_s": workers / rate * 3}
        points.append({"workers": workers, "throughput_per_s": rate * 1.01, "failures": 0, **latency})
    fit = {"rate_per_s": 500.0, "contention": 0.03, "coherency": 0.0008, "residual": 0.01, "peak_workers": 34.8}
    return {"nodeid": "test_bank.py::test_read", "points": points, "fit": fit, "knee_workers": 32}


def full_document(*more: dict[str, Any]) -> dict[str, Any]:
    """A document with something for every section of the page."""
    made = document(SessionRecord((rich_record(), plain_record())))
    made["created"] = "2026-11-26T10:00:00+00:00"
    made["environment"] = {"python": "3.12.1", "platform": "Linux", "cpus": 8, "pytest_stormdb": "0.1.0"}
    made["runs"] += [long_run(), *more]
    made["comparisons"] = [comparison()]
    made["sweeps"] = [sweep()]
    return made
