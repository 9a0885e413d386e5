"""The configuration file's monitoring: logs, exporters, and an address for Prometheus."""

from __future__ import annotations

import json
from collections import Counter

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
    """A later test of the session reads the counts of the run before it at the address given."""
    suite.write(
        TALKATIVE
        + """
    def test_page(request):
        import urllib.request
        port = request.config.getoption("stormdb_prometheus")
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert 'stormdb_workers{workload="it"} 10' in text
        assert sum(int(line.split()[-1]) for line in text.splitlines()
                   if line.startswith("stormdb_operations_total") and "part" not in line) == 500
    """
    )
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    suite.run(f"--stormdb-prometheus={port}").assert_outcomes(passed=2)


def test_a_bad_prometheus_address_is_told(suite: Suite) -> None:
    """What is no address is named."""
    suite.write(TALKATIVE)
    result = suite.run("--stormdb-prometheus=here:there")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --stormdb-prometheus: 'here:there' is not [[]HOST:]PORT"])
