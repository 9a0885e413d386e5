"""The configuration file's monitoring: logs, exporters, and an address for Prometheus."""

from __future__ import annotations

import json
import socket
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from ..conftest import Suite

TALKATIVE = """
    import logging
    import pytest

    log = logging.getLogger("mine")

    @pytest.mark.stormdb(workers=10, iterations=50)
    class TestIt:
        @pytest.mark.stormdb_operation(weight=1)
        def read(self, worker):
            with worker.operation("part"):
                log.debug("%d/%d %s", worker.id, worker.iteration, "x" * 200)

        @pytest.mark.stormdb_operation(weight=1)
        def write(self, worker):
            log.debug("%d/%d", worker.id, worker.iteration)
            worker.metrics.count("writes")
"""


def test_logs_of_ten_workers_are_complete_and_unmixed(suite: Suite) -> None:
    """At debug level every record of every worker is a line of JSON of its own, with worker and operation."""
    suite.write(TALKATIVE)
    suite.ini("logging:\n  level: debug\n  format: json\n  output: out.log\n", "stormdb.yaml")
    suite.run("--stormdb-config=stormdb.yaml").assert_outcomes(passed=1)
    lines = [json.loads(line) for line in (suite.path / "out.log").read_text().splitlines()]
    mine = [line for line in lines if line["logger"] == "mine"]
    assert Counter(line["worker"] for line in mine) == dict.fromkeys(range(10), 50)
    for line in mine:
        assert line["event"].startswith(f"{line['worker']}/")
        assert line["operation"] in ("part", "write")
        assert line["workload"] == "it"
    assert len({line["event"].split()[0] for line in mine}) == 500
    events = [line["event"] for line in lines if line["logger"] == "stormdb"]
    assert (events[0], events[-1]) == ("run started", "run passed")


def test_levels_below_the_configured_one_are_not_written(suite: Suite) -> None:
    """At level info the workers' debug records are dropped; text lines name their origin."""
    suite.write(TALKATIVE)
    suite.ini("logging:\n  level: info\n  format: text\n  output: out.log\n", "stormdb.yaml")
    suite.run("--stormdb-config=stormdb.yaml").assert_outcomes(passed=1)
    text = (suite.path / "out.log").read_text()
    assert "mine" not in text
    assert "stormdb: run passed [workload=it]" in text


def test_an_unwritable_log_is_one_clear_failure(suite: Suite) -> None:
    """A log file in a folder that does not exist fails the test with its name and nothing of ours."""
    suite.write(TALKATIVE)
    suite.ini("logging:\n  output: nowhere/out.log\n", "stormdb.yaml")
    result = suite.run("--stormdb-config=stormdb.yaml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["logging.output: cannot write nowhere/out.log: No such file or directory"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_the_json_exporter_writes_at_its_interval(suite: Suite) -> None:
    """With an interval of 200 ms a run of a second leaves several lines, the last one with all counts."""
    suite.write(TALKATIVE.replace("workers=10, iterations=50", 'workers=2, rate="50/s", duration="1500ms"'))
    suite.ini("metrics:\n  enabled: true\n  interval: 200ms\n  exporters: [json]\n", "stormdb.yaml")
    suite.run("--stormdb-config=stormdb.yaml", "--stormdb-json=runs.json").assert_outcomes(passed=1)
    lines = [json.loads(line) for line in (suite.path / "stormdb-metrics.jsonl").read_text().splitlines()]
    assert len(lines) > 3
    (run,) = suite.runs()
    assert {name: op["count"] for name, op in lines[-1]["operations"].items()} == {
        name: op["count"] for name, op in run["operations"].items()
    }
    assert lines[-1]["metrics"]["writes"] == run["metrics"]["writes"]["value"]


def test_disabled_metrics_export_nothing(suite: Suite) -> None:
    """``enabled: false`` keeps the exporters closed."""
    suite.write(TALKATIVE)
    suite.ini("metrics:\n  enabled: false\n  exporters: [json]\n", "stormdb.yaml")
    suite.run("--stormdb-config=stormdb.yaml").assert_outcomes(passed=1)
    assert not (suite.path / "stormdb-metrics.jsonl").exists()


def test_prometheus_is_served_while_runs_go_on(suite: Suite) -> None:
    """A strict parser reads the page during the run; at its end the counts are those of the record, and in a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    suite.write(
        f"""
        import urllib.request
        import pytest
        from prometheus_client.openmetrics.parser import text_string_to_metric_families

        @pytest.mark.stormdb(workers=2, rate="100/s", duration="1500ms")
        def test_it(worker):
            accept = {{"Accept": "application/openmetrics-text; version=1.0.0"}}
            request = urllib.request.Request("http://127.0.0.1:{port}/metrics", headers=accept)
            text = urllib.request.urlopen(request).read().decode()
            found = [one for family in text_string_to_metric_families(text) for one in family.samples]
            counted = [one.value for one in found if one.name == "stormdb_operations_total"]
            worker.metrics.gauge("seen", max(counted + [0]))
            if worker.iteration == 20:
                raise ValueError("no")
        """
    )
    suite.ini("metrics:\n  interval: 200ms\n", "stormdb.yaml")
    options = ("--stormdb-config=stormdb.yaml", "--stormdb-json=runs.json", f"--stormdb-prometheus={port}")
    suite.run(*options, "--stormdb-slo=errors < 50%").assert_outcomes(passed=1)
    (run,) = suite.runs()
    assert 0 < run["metrics"]["seen"]["value"] <= run["totals"]["operations"]
    families = text_string_to_metric_families((suite.path / "stormdb-metrics.prom").read_text())
    found = {sample.name: sample.value for family in families for sample in family.samples}
    assert found["stormdb_operations_total"] == run["totals"]["operations"]
    assert found["stormdb_failures_total"] == run["totals"]["failures"] == 2
    assert found["stormdb_operation_duration_seconds_count"] == run["totals"]["operations"]


def test_a_bad_prometheus_address_is_told(suite: Suite) -> None:
    """What is no address is named."""
    suite.write(TALKATIVE)
    result = suite.run("--stormdb-prometheus=here:there")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --stormdb-prometheus: 'here:there' is not [[]HOST:]PORT"])
