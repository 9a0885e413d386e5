"""The files a session leaves: JUnit XML as pytest writes it, and the JSON record, complete."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from pytest_stormdb.cli import main
from pytest_stormdb.measurement.histogram import Histogram

from ..conftest import Suite

XUNIT2 = {
    "testsuites": ({"name"}, {"testsuite"}),
    "testsuite": (
        {"name", "errors", "failures", "skipped", "tests", "time", "timestamp", "hostname"},
        {"testcase", "properties"},
    ),
    "testcase": (
        {"classname", "name", "time"},
        {"properties", "failure", "error", "skipped", "system-out", "system-err"},
    ),
    "properties": (set[str](), {"property"}),
    "property": ({"name", "value"}, set[str]()),
    "failure": ({"message"}, set[str]()),
    "error": ({"message"}, set[str]()),
    "skipped": ({"type", "message"}, set[str]()),
    "system-out": (set[str](), set[str]()),
    "system-err": (set[str](), set[str]()),
}
"""Attributes and children of each element in the family that pytest writes by default."""

SUITE = """
    import pytest

    pytestmark = pytest.mark.stormdb(iterations=60, workers=2)

    def test_good(worker):
        with worker.operation("pay"):
            worker.conn.execute("SELECT 1")
        worker.metrics.count("hits")

    def test_bad(worker):
        print("\\x1b[31mred\\x1b[0m & <blue>")
        assert worker.conn.execute("SELECT '<&>'").fetchone() == ("\\x00",)

    def test_skipped(worker):
        pytest.skip("not here")

    def test_broken(worker, missing):
        pass
"""


def check_shape(element: ET.Element) -> None:
    """Every element and attribute is one that pytest's JUnit writer knows, where it may stand."""
    attributes, children = XUNIT2[element.tag]
    assert set(element.attrib) == attributes, element.tag
    for child in element:
        assert child.tag in children, f"{child.tag} in {element.tag}"
        check_shape(child)


def properties_of(case: ET.Element) -> dict[str, str]:
    return {each.attrib["name"]: each.attrib["value"] for each in case.iter("property")}


def test_junit_is_pytests_own_with_our_properties(suite: Suite) -> None:
    """Well-formed, of pytest's shape, with the promised properties on every measured case."""
    suite.write(SUITE)
    suite.run("--junitxml=r.xml").assert_outcomes(passed=1, failed=1, skipped=1, errors=1)
    root = ET.parse(suite.path / "r.xml").getroot()
    check_shape(root)
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    good = properties_of(cases["test_good"])
    assert (good["stormdb.workers"], good["stormdb.operations"], good["stormdb.failures"]) == ("2", "120", "0")
    assert good["stormdb.verdict"] == "passed"
    assert good["stormdb.pay.operations"] == "120"
    assert good["stormdb.metrics.hits"] in ("120", "120.0")
    for name in ("throughput_per_s", "p50_ms", "p95_ms", "p99_ms", "max_ms", "pay.p99_ms"):
        assert float(good[f"stormdb.{name}"]) > 0
    bad = properties_of(cases["test_bad"])
    assert (bad["stormdb.verdict"], bad["stormdb.failures"], bad["stormdb.p99_ms"]) == ("failed", "120", "-")
    assert properties_of(cases["test_broken"]) == {}
    (failure,) = cases["test_bad"].findall("failure")
    assert failure.attrib["message"].splitlines()[0].startswith("Failed: no iteration succeeded (120 failed)")


def test_the_json_record_is_complete(suite: Suite) -> None:
    """One document with environment, server and every run in order, failed ones included."""
    suite.write(SUITE)
    suite.run("--stormdb-json=runs.json")
    document = json.loads((suite.path / "runs.json").read_text())
    assert [run["nodeid"].partition("::")[2] for run in document["runs"]] == ["test_good", "test_bad", "test_skipped"]
    assert [run["outcome"] for run in document["runs"][:2]] == ["passed", "failed"]
    assert document["server"]["settings"]["fsync"] == "on"
    good = document["runs"][0]
    assert (good["plan"]["workers"], good["plan"]["processes"], good["plan"]["iterations"]) == (2, 2, 60)
    assert good["metrics"]["hits"]["value"] == 120
    assert good["operations"]["pay"]["response"]["p99_s"] > 0
    assert good["elapsed_s"] > 0


def test_a_report_that_cannot_be_written_is_refused_at_once(suite: Suite) -> None:
    """A directory that is not there is a usage error before anything runs, not a lost report after."""
    suite.write(SUITE)
    result = suite.run("--stormdb-json=nowhere/runs.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --stormdb-json: *nowhere/runs.json*there is no such directory"])


def test_an_ordinary_session_with_a_report_has_an_empty_one(suite: Suite) -> None:
    """No workload, no runs; the document is there all the same."""
    suite.write("""
        def test_plain():
            pass
    """)
    suite.run("--stormdb-json=runs.json").assert_outcomes(passed=1)
    assert suite.runs() == []


RUN = """
    import pytest

    @pytest.mark.stormdb(workers=2, rate="200/s", duration="2500ms")
    @pytest.mark.stormdb_slo("max < 1h")
    def test_it(worker):
        worker.conn.execute("SELECT 1")
"""


def test_page_and_table_are_written_from_the_document(suite: Suite) -> None:
    """All three files tell of the same run, and the page made of the JSON file by the command is the session's."""
    suite.write(RUN)
    options = ("--stormdb-json=run.json", "--stormdb-html=page.html", "--stormdb-markdown=table.md")
    suite.run(*options).assert_outcomes(passed=1)
    (run,) = suite.runs("run.json")
    count = f"{run['totals']['operations']:,}"
    (operation,) = run["operations"].values()
    assert Histogram.decode(operation["service_histogram"]).count == Histogram.decode(operation["histogram"]).count
    assert "p95_s" in run["timeline"][0]
    page = (suite.path / "page.html").read_text(encoding="utf-8")
    assert "<title>stormdb: 1 passed</title>" in page
    assert f">{count}</td>" in page
    assert f" {count} |" in (suite.path / "table.md").read_text(encoding="utf-8")
    again = suite.path / "again.html"
    assert main(["report", str(suite.path / "run.json"), "--html", str(again)]) == 0
    assert again.read_text(encoding="utf-8") == page


def test_the_summary_of_a_github_job_is_added_to(suite: Suite) -> None:
    """Under GitHub Actions the table goes to the job's summary, behind what others wrote; and only if anything ran."""
    summary = suite.path / "summary.md"
    summary.write_text("# Mine\n")
    suite.env.setenv("GITHUB_ACTIONS", "true")
    suite.env.setenv("GITHUB_STEP_SUMMARY", str(summary))
    suite.write("def test_other(): pass")
    suite.run().assert_outcomes(passed=1)
    assert summary.read_text() == "# Mine\n"
    suite.write(RUN.replace('rate="200/s", duration="2500ms"', "iterations=5"))
    suite.run().assert_outcomes(passed=1)
    assert summary.read_text().startswith("# Mine\n## stormdb: 1 passed\n")


def test_a_report_that_cannot_be_written_costs_only_itself(suite: Suite) -> None:
    """The others are written, the reason is told, and the session does not end as if all were well."""
    suite.write(RUN.replace('rate="200/s", duration="2500ms"', "iterations=5"))
    (suite.path / "page.html").mkdir()
    result = suite.run("--stormdb-html=page.html", "--stormdb-markdown=table.md")
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["ERROR: --stormdb-html: cannot write *page.html: Is a directory"])
    assert (suite.path / "table.md").read_text(encoding="utf-8").startswith("## stormdb: 1 passed")


def test_a_folder_that_is_not_there_is_refused_early(suite: Suite) -> None:
    """Where a report cannot go is said before anything runs."""
    result = suite.run("--stormdb-html=nowhere/page.html")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --stormdb-html: '*nowhere/page.html': there is no such directory"])
