"""What a run tells while it goes on: lines of JSON, and structured logs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from pytest_stormdb.configuration.file import LoggingSection
from pytest_stormdb.errors import PlanError
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.recorder import Recorder, Snapshot
from pytest_stormdb.measurement.sample import Failure, Sample
from pytest_stormdb.telemetry.exporters import Exporters, JsonFile, Run
from pytest_stormdb.telemetry.logs import (
    JsonLines,
    LogOutput,
    TextLines,
    context,
)
from pytest_stormdb.workload.contract import Operation, Workload

WORKLOAD = Workload(name="shop", nodeid="test_shop.py::test_buy", operations=(Operation("buy", lambda worker: None),))
PLAN = make_plan(("test", {"workers": 3, "duration": "1s"}))


def counted() -> Snapshot:
    """Two hundred buys of one millisecond, and a failure of a name that needs escaping."""
    recorder = Recorder()
    for _ in range(200):
        recorder.record(Sample("buy", 0, 0, 1_000_000), is_open=False)
    recorder.record_failure(Sample("buy", 0, 0, 5), Failure('4"0', "no"))
    recorder.metric("carts", "counter").add(7)
    return recorder.take()


def test_counts_are_told_at_the_interval_and_at_the_end(tmp_path: Path) -> None:
    """With an interval of zero every tick writes a line, and the end writes the last counts once more."""
    out = tmp_path / "metrics.jsonl"
    exporters = Exporters([JsonFile(out)], interval_s=0.0)
    with exporters.during(Run(WORKLOAD, PLAN)) as tick:
        tick(Snapshot)
        tick(counted)
    exporters.close()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["operations"].get("buy", {}).get("count") for line in lines] == [None, 200, 200]
    assert lines[-1]["nodeid"] == "test_shop.py::test_buy"
    assert lines[-1]["metrics"] == {"carts": 7}
    assert lines[-1]["operations"]["buy"]["p99_s"] == pytest.approx(0.001, rel=1e-3)


def record(text: str, **origin: object) -> logging.LogRecord:
    """A log record, as a worker's would arrive."""
    made = logging.LogRecord("mine", logging.WARNING, "f.py", 1, text, ("x",), None)
    vars(made).update(origin)
    return made


def test_an_exporter_that_fails_is_told_no_more(tmp_path: Path) -> None:
    """A full disk costs the exporter that writes to it; the other one hears of the rest, and a line says why."""

    class Full:
        told = 0

        def begin(self, run: Run) -> None:
            """Nothing yet."""

        def tell(self, snapshot: Snapshot, elapsed_s: float) -> None:
            self.told += 1
            raise OSError(28, "No space left on device")

        def end(self) -> None:
            raise AssertionError("it was told no more")

        close = end

    full, file = Full(), JsonFile(tmp_path / "out.jsonl")
    exporters = Exporters([full, file], 0.0)
    with exporters.during(Run(WORKLOAD, PLAN)) as tick:
        tick(Snapshot)
        tick(Snapshot)
    exporters.close()
    assert full.told == 1
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3
    assert exporters.problems == ["Full: told no more: [Errno 28] No space left on device"]


def test_json_lines_say_where_they_come_from() -> None:
    """A record is one line of JSON with time, level, event, workload, worker and operation."""
    line = JsonLines().format(record("a\nb %s", **context("shop", 3, "buy")))
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["event"], found["logger"]) == ("warning", "a\nb x", "mine")
    assert (found["workload"], found["worker"], found["operation"]) == ("shop", 3, "buy")
    assert found["time"].endswith("+00:00")


def test_text_lines_name_what_is_known() -> None:
    """Text has the origin in brackets, and only as far as it is known."""
    assert (
        TextLines()
        .format(record("hello %s", **context("shop", 3)))
        .endswith("WARNING mine: hello x [workload=shop worker=3]")
    )
    assert TextLines().format(record("hello %s")).endswith("mine: hello x")


def test_logging_is_as_before_after_closing(tmp_path: Path) -> None:
    """A log output takes records of its level and above while it is open, and leaves the root logger unchanged."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    output = LogOutput(LoggingSection(level="info", format="json", output=tmp_path / "out.log"))
    logging.getLogger("mine").info("kept")
    logging.getLogger("mine").debug("dropped")
    output.close()
    logging.getLogger("mine").error("too late")
    assert (root.level, root.handlers) == before
    assert [json.loads(line)["event"] for line in (tmp_path / "out.log").read_text().splitlines()] == ["kept"]


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A log file in a folder that is not there is a plan error with its name."""
    with pytest.raises(PlanError, match=r"logging.output: cannot write .*nowhere.*No such file"):
        LogOutput(LoggingSection(output=tmp_path / "nowhere" / "out.log"))
