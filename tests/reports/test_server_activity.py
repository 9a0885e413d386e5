"""What the server did, in the summary and in the JSON document."""

from __future__ import annotations

import dataclasses
import json
from textwrap import dedent

import pytest

from pytest_stormdb.measurement.recorder import Snapshot
from pytest_stormdb.record import SessionRecord
from pytest_stormdb.reports.document import run_document
from pytest_stormdb.reports.lines import Style
from pytest_stormdb.reports.server_activity import activity_document, activity_lines
from pytest_stormdb.reports.terminal import lines

from ..records import plain_record, server_activity, snapshot, statistics


def text_of(activity: object, whole: Snapshot | None = None) -> str:
    timeline = statistics(snapshot(read=200) if whole is None else whole).timeline
    return "\n".join(activity_lines(activity, timeline)) + "\n"  # type: ignore[arg-type]


def test_the_summary_says_where_the_time_went_and_what_it_cost() -> None:
    """Cause, shares, costs, statements, events beside their latency, settings and gaps, letter by letter."""
    assert text_of(server_activity()) == dedent("""\
        server: 75 % of response time waits on Lock:tuple; UPDATE stock is blocked by VACUUM stock (of another client)
          response time     all
          Lock:tuple       75 %
          CPU*             25 %
        server, per operation: 3.5 blocks (99.4% hit), 2.2 rows, 20 B of WAL
        server, in all: 260 commits, 1 deadlock, 6 of 100 connections
           16.0 ms x 50: UPDATE stock SET n = n - $1
          96 % of response time is outside of statements: network, client, commits
        server, at 0.7 s: autovacuum of public.stock, p99 then 198 ms
        server, not as shipped: work_mem 64MB
        server: tables: permission denied
    """)


def test_little_evidence_is_little_said() -> None:
    """Without a cause, looks, counters, events or notes there is nothing to read."""
    empty = dataclasses.replace(
        server_activity(),
        growth=type(server_activity().growth)(),
        waits=dataclasses.replace(
            server_activity().waits, cause="", everything=type(server_activity().waits.slowest)()
        ),
        statements=type(server_activity().statements)({}),
        settings=(),
        events=(),
        notes=(),
    )
    assert text_of(empty) == "\n"


def test_the_document_holds_all_of_it() -> None:
    """Plain values that survive JSON; what is not known is null."""
    found = json.loads(json.dumps(activity_document(server_activity()), allow_nan=False))
    assert found["cause"].startswith("75 % of response time waits on Lock:tuple")
    costs = [found[f"{kind}_per_op"] for kind in ("blocks", "rows", "wal_bytes", "temp_bytes")]
    assert costs == [3.5, 2.2, 20.0, 0.0]
    assert found["hit_ratio"] == pytest.approx(870 / 875)
    assert (found["database"]["commits"], found["checkpoints"]["timed"], found["backends"]) == (260, 1, {})
    lock, cpu = found["waits"]
    assert (lock["event"], lock["share"], lock["slowest_share"], cpu["samples"]) == ("Lock:tuple", 0.75, None, 10)
    assert found["wait_classes"][0]["event"] == "Lock"
    assert (found["samples"], found["iterations_sampled"], found["slowest_iterations_sampled"]) == (40, 40, 0)
    assert found["wait_timeline"] == [{"at_s": 0, "Lock": 30, "CPU*": 10}]
    blocker = {"query": "VACUUM stock", "state": "active", "is_ours": False, "waiting": "UPDATE stock", "times": 3}
    assert found["blockers"] == [blocker]
    assert (found["statements"][0]["mean_s"], found["statements_missing"]) == (0.016, None)
    assert found["unexplained_share"] == pytest.approx(0.96)
    assert found["tables"][0]["dead_rows"] == 50
    assert found["settings_changed"][0]["name"] == "work_mem"
    assert found["events"] == [{"at_s": 0.7, "kind": "autovacuum", "detail": "of public.stock"}]
    assert (found["most_connections"], found["max_connections"]) == (6, 100)
    assert found["notes"] == ["tables: permission denied"]


def test_reports_show_it_where_it_is() -> None:
    """Below the run's table, and under ``server_activity``; a run that was not observed has neither."""
    observed, unobserved = plain_record(server_activity=server_activity()), plain_record()
    shown = [line.text for line in lines(SessionRecord((observed,)), Style(200))]
    assert shown[4].startswith("  server: 75 % of response time")
    assert run_document(observed)["server_activity"] == activity_document(server_activity())
    assert run_document(unobserved)["server_activity"] == {}
    assert not any("server:" in line.text for line in lines(SessionRecord((unobserved,)), Style(200)))
