"""The flat properties of a JUnit test case."""

from __future__ import annotations

from pytest_stormdb.reports.junit import properties

from .. import golden
from ..records import plain_record, rich_record, snapshot, statistics


def test_the_promised_properties() -> None:
    """One operation gives exactly the promised names, milliseconds as plain numbers, in this order."""
    assert properties(plain_record()) == [
        ("stormdb.workers", 4),
        ("stormdb.operations", 200),
        ("stormdb.failures", 0),
        ("stormdb.throughput_per_s", 100.0),
        ("stormdb.p50_ms", 100.007935),
        ("stormdb.p95_ms", 190.054399),
        ("stormdb.p99_ms", 198.049791),
        ("stormdb.max_ms", 200.0),
        ("stormdb.verdict", "passed"),
    ]


def test_each_of_several_operations_has_its_own() -> None:
    """Named operations and parts come with their names, then metrics and integrity."""
    flat = dict(properties(rich_record()))
    assert flat["stormdb.operations"] == 250
    assert (flat["stormdb.read.operations"], flat["stormdb.read.max_ms"]) == (200, 200.0)
    assert (flat["stormdb.write.failures"], flat["stormdb.write.p99_ms"]) == (3, "-")
    assert (flat["stormdb.commit.operations"], flat["stormdb.commit.p50_ms"]) == (50, 0.5)
    assert (flat["stormdb.metrics.hits"], flat["stormdb.integrity"]) == (42, "verified")
    assert flat["stormdb.verdict"] == "failed"


def test_values_are_plain_and_never_missing() -> None:
    """A run without a success has dashes for its latencies; every value is text or a number."""
    flat = dict(properties(plain_record(statistics=statistics(snapshot(failures=2)))))
    assert (flat["stormdb.operations"], flat["stormdb.failures"], flat["stormdb.p50_ms"]) == (0, 2, "-")
    assert all(type(value) in (str, int, float) for value in dict(properties(rich_record())).values())


def test_all_properties_of_a_rich_run() -> None:
    """Names and values, as kept."""
    golden.check("junit.txt", "".join(f"{name} = {value}\n" for name, value in properties(rich_record())))
