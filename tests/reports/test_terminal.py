"""The terminal summary, letter by letter."""

from __future__ import annotations

from textwrap import dedent

from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.record import RunRecord, SessionRecord
from pytest_stormdb.reports.terminal import lines

from ..records import ELSEWHERE, plain_record, rich_record, snapshot, statistics


def text_of(*records: RunRecord) -> str:
    return "\n".join(line.text for line in lines(SessionRecord(records))) + "\n"


def golden(text: str) -> str:
    return dedent(text).lstrip("\n")


def test_a_plain_run() -> None:
    """One operation is one row; then the server's identity, which says that it shares this machine."""
    assert text_of(plain_record()) == golden("""
        test_shop.py::test_read  (4 workers, 2.0 s)
          operation      count   failures throughput        p50        p95        p99        max
          read             200          0      100/s     100 ms     190 ms     198 ms     200 ms

        PostgreSQL 18.4 (embedded on this machine, which these numbers measure too); fsync on, shared_buffers 128MB
    """)


def test_a_run_with_everything() -> None:
    """Stages, operations, parts, their sum; errors, metrics, thresholds, health, the generator, the reasons."""
    assert text_of(rich_record()) == golden("""
        test_shop.py::test_mix  (4 workers, 2 stages, 2.0 s, after 500 ms of warm-up, 2 processes)
          operation                 count   failures throughput        p50        p95        p99        max
          2 workers for 1 s           100          0      100/s    50.0 ms    95.0 ms    99.0 ms     100 ms
          2->4 workers for 1 s        150          3      150/s    25.0 ms    93.1 ms    99.0 ms     100 ms
          read                        200          0      100/s     100 ms     190 ms     198 ms     200 ms
          write                        50          3     25.0/s    10.0 ms    10.0 ms          -    10.0 ms
            commit                     50          0     25.0/s     500 us     500 us          -     500 us
          all                         250          3      125/s    75.0 ms     188 ms     198 ms     200 ms
          write: 3 x 40001: could not serialize
          hits: 42
          4 retries, 1 reconnect
          ok     p95 < 1s: measured 188 ms
          MISSED p50 < 1ms [read]: measured 100 ms
          health, during at 1.5 s: stock: 3 products below zero
          generator: a garbage collection in a worker took 2.00 ms
          3 of 253 iterations failed: 3 x 40001

        PostgreSQL 18.4 (embedded on this machine, which these numbers measure too); fsync on, shared_buffers 128MB
    """)


def test_several_runs_share_their_columns_and_servers() -> None:
    """The columns are as wide as the longest name of all runs, and each server is named once, at the end."""
    short, other = plain_record(), plain_record(server=ELSEWHERE)
    assert text_of(short, other, rich_record()).splitlines()[2] == (
        "  read                        200          0      100/s     100 ms     190 ms     198 ms     200 ms"
    )
    assert text_of(short, other, short).splitlines()[-2:] == [
        "PostgreSQL 18.4 (embedded on this machine, which these numbers measure too); fsync on, shared_buffers 128MB",
        "PostgreSQL 16.2 (not embedded); fsync off",
    ]


def test_the_first_line_says_how_it_was_run() -> None:
    """One worker is no plural; iterations, an open loop, and threads where there is no fork, are said."""
    plan = make_plan(("test", {"iterations": 1000, "rate": "50/s", "arrivals": "poisson"}))
    record = plain_record(plan=plan, layout=(1,), forked=False, statistics=statistics(snapshot(read=1), 3.21))
    assert text_of(record).splitlines()[0] == (
        "test_shop.py::test_read  (1 worker, 50.0/s poisson, 1,000 iterations each, 3.2 s,"
        " threads: this system cannot fork, so the interpreter lock is in the latency)"
    )


def test_a_run_without_operations_is_all_dashes() -> None:
    """Nothing measured is shown as nothing, under the reason."""
    record = plain_record(outcome="failed", statistics=statistics(snapshot()), reasons=("no iteration succeeded",))
    assert text_of(record) == golden("""
        test_shop.py::test_read  (4 workers, 2.0 s)
          operation      count   failures throughput        p50        p95        p99        max
          all                0          0        0/s          -          -          -          -
          no iteration succeeded

        PostgreSQL 18.4 (embedded on this machine, which these numbers measure too); fsync on, shared_buffers 128MB
    """)


def test_lines_have_tones() -> None:
    """Good news, bad news and doubts are told apart for the terminal's colours."""
    tones = {line.text.strip().split("  ")[0]: line.tone for line in lines(SessionRecord((rich_record(),)))}
    assert tones["ok"] == "good"
    assert tones["MISSED p50 < 1ms [read]: measured 100 ms"] == "bad"
    assert tones["generator: a garbage collection in a worker took 2.00 ms"] == "doubtful"
    assert tones["test_shop.py::test_mix"] == "strong"
    assert tones["write"] == "bad"
    assert tones["read"] == "plain"
