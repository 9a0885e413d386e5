"""Names are bounded and values converted where they enter: reports stay small, and valid, whatever comes in."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pytest_stormdb.errors import WorkloadError
from pytest_stormdb.measurement.recorder import OTHER_PARTS, Recorder, Snapshot
from pytest_stormdb.measurement.sample import Failure, Sample
from pytest_stormdb.measurement.values import MOST_NAMES, OTHER, finite
from pytest_stormdb.record import SessionRecord
from pytest_stormdb.reports import document, terminal
from pytest_stormdb.reports.lines import Style
from pytest_stormdb.workload.contract import WorkerMetrics

from ..records import plain_record, statistics


def with_names(first: int, count: int) -> Snapshot:
    """Operations, parts, metrics, codes and reasons, ``count`` of each."""
    recorder = Recorder()
    for number in range(first, first + count):
        sample = Sample(f"op {number}", 0, 0, 1000)
        recorder.record(sample, is_open=False)
        recorder.record_failure(Sample("fails", 0, 0, 1000), Failure(f"E{number}", "no"))
        recorder.record_abort(Sample("aborts", 0, 0, 1000), f"reason {number}")
        recorder.record_part(Sample(f"part {number}", 0, 0, 1000))
        WorkerMetrics(recorder).count(f"metric {number}")
    return recorder.take()


@pytest.mark.parametrize("snapshots", [1, 4])
def test_the_first_hundred_names_stand(snapshots: int) -> None:
    """Of one worker, and of several with other names each; nothing of the rest is lost."""
    whole = Snapshot()
    for index in range(snapshots):
        whole.merge(with_names(1000 * index, 1000))
    operations = {name: tally for name, tally in whole.tallies.items() if not tally.is_part}
    parts = {name: tally for name, tally in whole.tallies.items() if tally.is_part}
    assert len(whole.tallies) <= 2 * (MOST_NAMES + 2)
    assert sum(tally.count for tally in operations.values()) == 1000 * snapshots
    assert sum(tally.count for tally in parts.values()) == 1000 * snapshots
    assert operations[OTHER].count > 800 * snapshots
    assert parts[OTHER_PARTS].count > 800 * snapshots
    assert len(whole.metrics) <= MOST_NAMES + 1
    assert sum(metric.total for metric in whole.metrics.values()) == 1000 * snapshots
    total = whole.total()
    for counts in (total.errors, total.aborts):
        assert len(counts) == MOST_NAMES + 1
    assert (total.failures, sum(total.aborts.values())) == (1000 * snapshots, 1000 * snapshots)


def test_a_worker_keeps_its_names_for_the_whole_run() -> None:
    """What became "other" in one second does not come back under its own name in the next."""
    recorder = Recorder()
    for number in range(MOST_NAMES + 1):
        recorder.record(Sample(f"op {number}", 0, 0, 1000), is_open=False)
    recorder.take()
    recorder.record(Sample(f"op {MOST_NAMES}", 0, 0, 1000), is_open=False)
    assert set(recorder.take().tallies) == {OTHER}


def test_the_summary_says_what_other_is() -> None:
    """One line for each kind of name that ran over, and none where none did."""
    record = plain_record(statistics=statistics(with_names(0, 300)))
    lines = [line.text for line in terminal.lines(SessionRecord((record,)), Style(200))]
    for what in ("operations", "metrics", "errors", "reasons of aborts"):
        assert f'  more than 100 {what} have a name of their own: the first stand, the rest is "other"' in lines
    assert not any("more than" in line.text for line in terminal.lines(SessionRecord((plain_record(),)), Style(200)))


def test_metrics_take_numbers_of_any_library() -> None:
    """Decimals, booleans and NumPy's scalars add up; what is no number is an error that names the metric."""
    recorder = Recorder()
    metrics: Any = WorkerMetrics(recorder)
    metrics.count("rows", Decimal(7))
    metrics.count("rows", True)
    metrics.gauge(5, 1.5)
    metrics.gauge("control\x1b", 2)
    taken = recorder.take().metrics
    assert {name: metric.value for name, metric in taken.items()} == {"rows": 8, "5": 1.5, "control\\x1b": 2}
    with pytest.raises(WorkloadError, match=r"^metric 'rows': 'many' \(str\) is not a number$"):
        metrics.count("rows", "many")
    with pytest.raises(WorkloadError, match=r"^metric 'rows' is a counter, not a gauge$"):
        metrics.gauge("rows", 1)


def test_numbers_that_are_none_leave_the_document_valid(tmp_path: Path) -> None:
    """NaN and infinity, in a metric and in what is judged, are null in strict JSON."""
    recorder = Recorder()
    metrics = WorkerMetrics(recorder)
    metrics.gauge("ratio", math.nan)
    metrics.gauge("top", math.inf)
    recorder.record(Sample("read", 0, 0, 1000), is_open=False)
    record = plain_record(statistics=statistics(recorder.take()), server_activity=None)
    out = tmp_path / "runs.json"
    document.write(document.document(SessionRecord((record,))), out)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    (run,) = json.loads(out.read_text(), parse_constant=refuse)["runs"]
    assert run["metrics"]["top"]["value"] is run["metrics"]["ratio"]["value"] is None
    assert finite({"of": (1.5, math.nan, "text"), "in": {"it": -math.inf}}) == {
        "of": [1.5, None, "text"],
        "in": {"it": None},
    }
