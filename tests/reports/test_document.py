"""The JSON report: exactly the promised keys, plain values, and a round trip that loses nothing."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_stormdb.measurement.histogram import Histogram
from pytest_stormdb.measurement.scalability import Point, Sweep
from pytest_stormdb.record import SessionRecord
from pytest_stormdb.reports.document import document, run_document, write
from pytest_stormdb.run.result import Result

from ..records import SERVER, plain_record, rich_record, snapshot, statistics

LATENCY = {"mean_s", "stddev_s", "min_s", "p50_s", "p90_s", "p95_s", "p99_s", "p99_9_s", "max_s"}
PROMISED: Mapping[str, Any] = {
    "nodeid": str,
    "workload": {"name", "version", "integrity"},
    "plan": {"workers", "processes", "duration_s", "iterations", "warmup_s", "rate_per_s", "arrivals", "seed"},
    "outcome": str,
    "elapsed_s": float,
    "totals": {"operations", "failures", "retries", "dropped", "throughput_per_s"},
    "operations": dict,
    "timeline": list,
    "thresholds": list,
    "health": list,
    "metrics": dict,
    "server_activity": dict,
    "noise": {"sees_machine", "sees_server", "windows"},
    "validity": {"valid", "findings"},
}


def reread(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def test_a_document_has_the_promised_keys() -> None:
    """Format, creation, environment, server and runs; each run with every promised part and figure."""
    whole = reread(document(SessionRecord((rich_record(), plain_record()))))
    assert set(whole) == {"format", "created", "environment", "server", "runs", "sweeps", "comparisons"}
    assert whole["format"] == "stormdb-run/1"
    assert datetime.datetime.fromisoformat(whole["created"]).tzinfo is not None
    assert whole["server"] == {"version": "18.4", "embedded": True, "settings": dict(SERVER.settings)}
    assert {"python", "platform", "cpus", "pytest_stormdb", "psycopg", "libpq"} <= set(whole["environment"])
    for run in whole["runs"]:
        for key, shape in PROMISED.items():
            if isinstance(shape, set):
                assert set(run[key]) >= shape, key
            else:
                assert isinstance(run[key], shape), key
        for operation in run["operations"].values():
            assert set(operation) >= {"count", "failures", "throughput_per_s", "errors", "histogram"}
            assert all(set(operation[kind]) == LATENCY for kind in ("response", "service", "lag"))
        for interval in run["timeline"]:
            assert set(interval) == {"at_s", "operations", "failures", "p50_s", "p95_s", "p99_s"}
        for threshold in run["thresholds"]:
            assert set(threshold) >= {"expression", "verdict", "estimate", "low", "high", "limit"}
        for check in run["health"]:
            assert set(check) >= {"check", "when", "ok", "detail"}


def test_a_run_says_what_it_was_and_showed() -> None:
    """The values of a record stand where they belong."""
    run = reread(run_document(rich_record()))
    assert run["workload"] == {"name": "shop", "version": "1.2.0", "integrity": "verified"}
    assert run["plan"]["workers"] == 4
    assert (run["plan"]["processes"], run["plan"]["layout"]) == (2, [2, 2])
    assert (run["plan"]["duration_s"], run["plan"]["iterations"], run["plan"]["warmup_s"]) == (2.0, None, 0.5)
    assert (run["plan"]["rate_per_s"], run["plan"]["arrivals"], run["plan"]["seed"]) == (None, None, 7)
    assert (run["outcome"], run["elapsed_s"]) == ("failed", 2.0)
    totals = {k: run["totals"][k] for k in ("operations", "failures", "retries", "dropped", "throughput_per_s")}
    assert totals == {"operations": 250, "failures": 3, "retries": 4, "dropped": 2, "throughput_per_s": 125.0}
    write = run["operations"]["write"]
    assert (write["count"], write["failures"], write["is_part"]) == (50, 3, False)
    assert write["errors"] == [{"code": "40001", "count": 3, "example": "could not serialize\nDETAIL: more"}]
    assert (write["response"]["min_s"], write["response"]["max_s"], write["response"]["p99_s"]) == (0.01, 0.01, None)
    assert run["operations"]["commit"]["is_part"] is True
    assert [t["verdict"] for t in run["thresholds"]] == ["pass", "fail"]
    assert (run["thresholds"][1]["operation"], run["thresholds"][1]["limit"]) == ("read", 0.001)
    assert run["health"][1] == {
        "check": "stock",
        "when": "during",
        "ok": False,
        "detail": "3 products below zero",
        "duration_s": 0.25,
        "at_s": 1.5,
    }
    assert run["metrics"]["hits"]["value"] == 42
    assert run["server_activity"] == {}
    assert run["validity"]["valid"] is True
    assert [stage["label"] for stage in run["stages"]] == ["2 workers for 1 s", "2->4 workers for 1 s"]
    assert run["lost"] == ["worker 3 was killed by SIGKILL"]


def test_few_samples_are_null() -> None:
    """Fewer than a hundred samples give no p99, and none at all give no figure: null, never NaN."""
    few = run_document(plain_record(statistics=statistics(snapshot(read=99))))["operations"]["read"]["response"]
    assert (few["p99_s"], few["p99_9_s"]) == (None, None)
    assert few["p95_s"] is not None
    none = run_document(plain_record(statistics=statistics(snapshot(failures=1))))["operations"]["write"]["response"]
    assert set(none.values()) == {None}


def test_the_histogram_reads_back() -> None:
    """The encoded histogram is the distribution of response times, whole."""
    record = plain_record()
    encoded = reread(run_document(record))["operations"]["read"]["histogram"]
    histogram = Histogram.decode(encoded)
    assert histogram.buckets() == record.statistics.operations["read"].tally.service.buckets()
    assert histogram.count == 200


def test_a_document_is_written_and_read(tmp_path: Path) -> None:
    """The file is UTF-8 JSON that reads back as the document, with its sweeps."""
    out = tmp_path / "runs.json"
    record = SessionRecord((plain_record(nodeid="test_é.py::test_ü"),), (Sweep("t", (Point(1, 10.0, None, None),)),))
    write(document(record), out)
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["runs"][0]["nodeid"] == "test_é.py::test_ü"
    assert written["sweeps"][0]["knee_workers"] == 1
    write(document(SessionRecord()), out)
    empty = json.loads(out.read_text(encoding="utf-8"))
    assert (empty["server"], empty["runs"]) == (None, [])


def test_the_result_in_hand_is_the_same_run() -> None:
    """A result's record is the run of the document, and its figures are those of the record."""
    record = rich_record()
    result = Result(record)
    assert result.record == run_document(record)
    assert (result.operations, result.failures, result.throughput) == (250, 3, 125.0)
    assert (result.retries, result.reconnects, result.dropped) == (4, 1, 2)
    assert result.errors == {"40001": 3}
    assert result.metrics == {"hits": 42}
    assert (result.min, result.max, result.service.max, result.lag.max) == (0.001, 0.2, 0.2, 0)
    assert result.p50 <= result.p90 <= result.p95 <= result.p99 <= result.percentile(99.9) <= result.max
    assert (result.operation("commit").operations, result.operation("commit").mean) == (50, 0.0005)
    assert repr(result.operation("write")) == (
        "<write: 50 operations, 3 failures, 25.0/s, p50 10.0 ms, p95 10.0 ms, p99 10.0 ms, max 10.0 ms>"
    )


def test_an_operation_that_did_not_run_is_named() -> None:
    """Asking for a name that is not there says which are."""
    try:
        Result(rich_record()).operation("raed")
    except KeyError as error:
        message = error.args[0]
    assert message == "no operation 'raed' ran; there were commit, read, write"
