"""What Prometheus reads, by its own parser."""

from __future__ import annotations

import dataclasses
import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict_families
from prometheus_client.parser import text_string_to_metric_families

from pytest_stormdb.errors import PlanError
from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.recorder import Recorder, Snapshot
from pytest_stormdb.measurement.sample import Failure, Sample
from pytest_stormdb.telemetry.exporters import Exporters, Run
from pytest_stormdb.telemetry.prometheus import PrometheusPage
from pytest_stormdb.workload.contract import Operation, Workload

WORKLOAD = Workload(name="shop", nodeid="test_shop.py::test_buy", operations=(Operation("buy", lambda worker: None),))
PLAN = make_plan(("test", {"workers": 3, "duration": "1s"}))
OPEN = make_plan(("test", {"workers": 1, "duration": "1s", "rate": "1/s"}))
MS = 1_000_000

LABELS = ("workload", "operation", "name", "code", "reason", "le")
Values = dict[tuple[str, ...], float]


def counted(buys: int = 200) -> Snapshot:
    """Buys of one millisecond, a failure whose name needs escaping, and one metric of each kind."""
    recorder = Recorder()
    for _ in range(buys):
        recorder.record(Sample("buy", 0, 0, MS), is_open=False)
    recorder.record_failure(Sample("buy", 0, 0, 5), Failure('4"0\n\\', "no"))
    for reason in ("sold out", "sold out", "too dear"):
        recorder.record_abort(Sample("buy", 0, 0, 5), reason)
    recorder.metric("carts", "counter").add(7)
    recorder.metric("stock", "gauge").add(3)
    recorder.metric("price", "observation").add(2.5)
    return recorder.take()


def values(text: str) -> Values:
    """Every sample by its name and the values of its labels."""
    return {
        (sample.name, *(sample.labels[name] for name in LABELS if name in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(page: PrometheusPage, accept: str = "text/plain") -> str:
    request = urllib.request.Request(page.address, headers={"Accept": accept})
    with urllib.request.urlopen(request) as answer:
        text: str = answer.read().decode()
    return text


def test_a_run_in_progress_and_its_end(tmp_path: Path) -> None:
    """What was told last is served, by the rules of both formats; after the run no worker is left, and all counts."""
    page = PrometheusPage("127.0.0.1", 0, tmp_path / "it.prom")
    exporters = Exporters([page], interval_s=0.0)
    with exporters.during(Run(WORKLOAD, PLAN)) as tick:
        tick(lambda: counted(5))
        during = values(read(page))
        tick(counted)
        families = list(strict_families(read(page, "application/openmetrics-text; version=1.0.0")))
    after = values(read(page))
    exporters.close()
    assert during["stormdb_workers", "shop"] == 3
    assert during["stormdb_operations_total", "shop", "buy"] == 5
    assert {family.name for family in families} >= {"stormdb_operation_duration_seconds", "stormdb_failures"}
    assert after["stormdb_workers", "shop"] == 0
    assert after["stormdb_operations_total", "shop", "buy"] == 200
    assert after["stormdb_failures_total", "shop", "buy", '4"0\n\\'] == 1
    assert after["stormdb_aborts_total", "shop", "buy", "sold out"] == 2
    assert after["stormdb_aborts_total", "shop", "buy", "too dear"] == 1
    assert after["stormdb_retries_total", "shop", "buy"] == 0
    assert after["stormdb_operation_duration_seconds_count", "shop", "buy"] == 200
    assert after["stormdb_operation_duration_seconds_sum", "shop", "buy"] == pytest.approx(0.2)
    assert after["stormdb_operation_duration_seconds_bucket", "shop", "buy", "0.00075"] == 0
    assert after["stormdb_operation_duration_seconds_bucket", "shop", "buy", "0.001"] == 200
    assert after["stormdb_operation_duration_seconds_bucket", "shop", "buy", "+Inf"] == 200
    assert after["stormdb_counter_total", "shop", "carts"] == 7
    assert after["stormdb_gauge", "shop", "stock"] == 3
    assert after["stormdb_observation_sum", "shop", "price"] == 2.5
    assert values((tmp_path / "it.prom").read_text()) == after


def test_runs_of_a_workload_are_added_up() -> None:
    """Counters never fall: a second run, as in a sweep, counts on from the first one."""
    page = PrometheusPage("127.0.0.1", 0)
    exporters = Exporters([page], interval_s=3600)
    for _ in range(2):
        with exporters.during(Run(WORKLOAD, PLAN)) as tick:
            tick(counted)
    found = values(read(page))
    exporters.close()
    assert found["stormdb_operations_total", "shop", "buy"] == 400
    assert found["stormdb_operation_duration_seconds_bucket", "shop", "buy", "+Inf"] == 400
    assert found["stormdb_counter_total", "shop", "carts"] == 14


def test_names_are_bounded() -> None:
    """Beyond a hundred operations, or codes of one, the rest is counted as ``other``; nothing is lost."""
    recorder = Recorder()
    for number in range(250):
        recorder.record(Sample(f"op{number}", 0, 0, MS), is_open=False)
        recorder.record_failure(Sample("buy", 0, 0, 5), Failure(f"E{number}", "no"))
        recorder.record_abort(Sample("buy", 0, 0, 5), f"reason {number}")
    page = PrometheusPage("127.0.0.1", 0)
    exporters = Exporters([page], interval_s=3600)
    with exporters.during(Run(WORKLOAD, PLAN)) as tick:
        tick(lambda: snapshot)
        snapshot = recorder.take()
    found = values(read(page))
    exporters.close()
    operations = {key: value for key, value in found.items() if key[0] == "stormdb_operations_total"}
    failures = {key: value for key, value in found.items() if key[0] == "stormdb_failures_total"}
    aborts = {key: value for key, value in found.items() if key[0] == "stormdb_aborts_total"}
    assert len(operations) == len(failures) == len(aborts) == 101
    assert sum(operations.values()) == sum(failures.values()) == sum(aborts.values()) == 250


def test_no_secret_is_shown() -> None:
    """Names, codes, reasons and the workload's own name may hold an address and its password; what is read does not."""
    secret = "postgresql://ann:S3cr3tPassword@db/shop"
    workload = dataclasses.replace(WORKLOAD, name=f"shop[{secret}]", nodeid=f"test_shop.py::test_buy[{secret}]")
    recorder = Recorder()
    recorder.record(Sample(secret, 0, 0, MS), is_open=False)
    recorder.record_failure(Sample(secret, 0, 0, 5), Failure(secret, secret))
    recorder.record_abort(Sample(secret, 0, 0, 5), secret)
    recorder.metric(secret, "counter").add(1)
    page = PrometheusPage("127.0.0.1", 0)
    exporters = Exporters([page], interval_s=3600)
    with exporters.during(Run(workload, PLAN)) as tick:
        tick(lambda: snapshot)
        snapshot = recorder.take()
    text = read(page)
    exporters.close()
    assert "S3cr3t" not in text
    assert text.count("ann:***@db/shop") >= 5


def test_an_open_loop_has_its_response_time() -> None:
    """What is served as duration is the response time, which an open loop counts from the intended start."""
    recorder = Recorder()
    recorder.record(Sample("buy", 0, 60 * MS, 61 * MS), is_open=True)
    snapshot = recorder.take()
    page = PrometheusPage("127.0.0.1", 0)
    exporters = Exporters([page], interval_s=3600)
    with exporters.during(Run(WORKLOAD, OPEN)) as tick:
        tick(lambda: snapshot)
    found = values(read(page))
    exporters.close()
    assert found["stormdb_operation_duration_seconds_sum", "shop", "buy"] == pytest.approx(0.061)


def test_a_taken_port_and_an_unwritable_file_are_told(tmp_path: Path) -> None:
    """An address that cannot be had, and a file that cannot be written, are one sentence; the port is given back."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PlanError, match=f"cannot listen on 127.0.0.1:{port}"):
            PrometheusPage("127.0.0.1", port)
    page = PrometheusPage("127.0.0.1", 0, tmp_path / "nowhere" / "it.prom")
    with pytest.warns(RuntimeWarning, match=r"cannot write .*it.prom: No such file or directory"):
        page.end()
    page.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(page.address.rsplit(":", 1)[1].partition("/")[0]))) != 0
