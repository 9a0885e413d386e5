"""The page of a document: what is in it, in which order, and that nothing in it can run or load."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import pytest

from pytest_stormdb.reports.page import page, write

from .documents import comparison, full_document, long_run
from .test_html import read

ASSETS = resources.files("pytest_stormdb.reports") / "assets"


def test_the_vendored_library_is_the_recorded_one() -> None:
    """Version, hash and licence stand beside ECharts, and the file is unchanged."""
    home = ASSETS / "echarts"
    version, digest = (home / "VERSION").read_text().split()
    library = (home / "echarts.common.min.js").read_bytes()
    assert hashlib.sha256(library).hexdigest() == digest
    assert f'version="{version}"'.encode() in library
    assert "Apache License" in (home / "LICENSE").read_text()
    assert "Apache ECharts" in (home / "NOTICE").read_text()


def test_verdicts_come_first_and_the_worst_of_them_before_the_others() -> None:
    """The title counts the outcomes; the first section is the table of verdicts, failures above."""
    text = page(full_document())
    assert "<title>stormdb: 3 failed, 1 passed</title>" in text
    sections = re.findall(r'<section id="([\w-]+)"', text)
    assert sections == ["verdicts", "comparisons", "comparison-0", "sweep-0", "run-0", "run-2", "run-1", "environment"]
    verdicts = text[text.index('<section id="verdicts"') : text.index('<section id="comparisons"')]
    assert verdicts.index("test_transfer") < verdicts.index("test_read")
    assert "p99 20.4 ms is not &lt; 20 ms: certain (test_transfer, 10 workers, 61,204 operations)" in verdicts


def test_every_part_of_a_run_is_shown() -> None:
    """Thresholds with interval, errors, health, findings, counters, waits, statements, metrics and plan."""
    text = read(page(full_document())).text
    for part in (
        "20.4 ms (20.1 ms to 20.9 ms over ten parts of the run)",
        "could not serialize access due to concurrent update",
        "insufficient funds",
        "aborts321",
        "12 s behind",
        "a garbage collection in a worker took 2.00 ms",
        "72 % of response time waits on Lock:transactionid (slowest 5 %: 96 %).",
        "slowest 5 %",
        "database: commits",
        "8.19 kB",
        "160 B",
        "a note on <what> could not be read",
        "Plan of test_transfer",
        "Index Scan",
        "Lock:transactionid",
        "UPDATE account SET balance = $1 WHERE id = $2",
        "122,408",
        "10->50 workers for 30 s",
        "new is 17.0% higher than old at p95 [+12.0%, +23.0%], 38 pairs.",
        "The knee is at 32 workers",
    ):
        assert part in text


def test_what_a_document_does_not_hold_is_left_out() -> None:
    """A lean document makes a page without empty headings."""
    run = {key: long_run()[key] for key in ("nodeid", "plan", "outcome", "elapsed_s", "totals")}
    text = page({"format": "stormdb-run/1", "runs": [run | {"operations": {}}]})
    for heading in ("Thresholds", "Errors", "Health", "Server", "Metrics", "Comparisons", "Latency over time"):
        assert f">{heading}" not in text
    bare = {key: comparison()[key] for key in ("nodeid", "metric", "verdict", "arms", "pairs")}
    assert "nothing was measured" in page({"format": "stormdb-run/1", "runs": [], "comparisons": [bare]})
    broken = page({"format": "stormdb-run/1", "runs": [], "comparisons": [bare | {"verdict": None}]})
    assert "<title>stormdb: 1 error</title>" in broken


def test_only_our_own_scripts_may_run() -> None:
    """The policy names the hashes of both scripts; nothing may be loaded, and nothing refers to elsewhere."""
    text = page(full_document())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src &#x27;none&#x27;; script-src ")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy[1]
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"(?:src|href)=\"(?!#)", markup)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", '"><b>', "${a}{b}"]
)
def test_names_cannot_become_markup(name: str) -> None:
    """A hostile name of a workload, an operation, an error, a wait or an arm is text wherever it stands."""
    run = long_run(name=name)
    run["operations"] = {name: run["operations"]["test_transfer"]}
    run["operations"][name]["errors"][0]["example"] = name
    run["server_activity"]["waits"][0]["event"] = name
    run["reasons"] = [name]
    document = full_document(run) | {"comparisons": [comparison() | {"arms": [name, "new"]}]}
    clean = full_document(long_run()) | {"comparisons": [comparison()]}
    assert read(page(document)).tags == read(page(clean)).tags


def test_a_page_of_many_long_runs_stays_small(tmp_path: Path) -> None:
    """Fifty runs of an hour, each with three pictures over time, are below 5 MB, with 600 points each."""
    runs = [long_run(3600, f"test_bank.py::test_{number}") for number in range(50)]
    out = tmp_path / "page.html"
    write(full_document(*runs), out)
    assert out.stat().st_size < 5_000_000
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', out.read_text(), re.DOTALL)
    assert found is not None
    charts = json.loads(found[1])
    assert max(len(chart["x"]["values"]) for chart in charts.values() if chart.get("time")) <= 600


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast(scheme: int) -> None:
    """Text reaches 4.5 to 1 on its paper, and lines of pictures 3 to 1, in both schemes."""
    block = (ASSETS / "page.css").read_text().split(":root {")[scheme + 1].split("}")[0]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for ink, paper in [
        *((ink, paper) for ink in ("ink", "dim", "link") for paper in ("paper", "card")),
        *((tone, f"{tone}-paper") for tone in ("good", "bad", "doubt")),
    ]:
        assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
    for line in [*(f"c{n}" for n in range(1, 9)), "bad"]:
        assert contrast(colours[line], colours["paper"]) >= 3, line
