"""The page in a real browser: its pictures are there, hold the record's numbers, and nothing hostile runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_stormdb.reports.page import write

from .browser import HAS_BROWSER, WHY_NOT, Browser, started
from .documents import comparison, full_document, long_run, sweep

pytestmark = [pytest.mark.skipif(not HAS_BROWSER, reason=WHY_NOT), pytest.mark.slow]

SERIES = """
const figure = [...document.querySelectorAll('figure.chart')].filter(
  (one) => one.closest('section').id === arguments[0]
    && one.querySelector('figcaption').textContent === arguments[1])[0];
figure.scrollIntoView();
const chart = echarts.getInstanceByDom(figure.querySelector('.plot'));
if (!chart) return null;
return Object.fromEntries(chart.getOption().series.map((one) => [one.name, one.data]));
"""
DRAW_ALL = "dispatchEvent(new Event('beforeprint')); return document.querySelectorAll('.plot svg').length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as running:
        yield running


@pytest.fixture(scope="module")
def shown(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """The full page, with everything drawn."""
    out = tmp_path_factory.mktemp("page") / "page.html"
    write(full_document(), out)
    browser.complaints()
    browser.open(out)
    assert browser.run(DRAW_ALL) == browser.run("return document.querySelectorAll('figure.chart').length") == 11
    return browser


def values(browser: Browser, section: str, title: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = browser.run(SERIES, section, title)
    return found


def test_nothing_is_loaded_and_nothing_complained_of(shown: Browser) -> None:
    """The page asks for no other file, and the console stays empty."""
    assert shown.run("return performance.getEntriesByType('resource').map((one) => one.name)") == []
    assert shown.complaints() == []


def test_pictures_hold_the_numbers_of_the_record(shown: Browser) -> None:
    """Throughput, percentiles and failures over time are read from the drawn charts, second by second."""
    timeline = long_run()["timeline"]
    drawn = values(shown, "run-2", "Throughput over time")["throughput"]
    assert drawn == [[one["at_s"], one["operations"]] for one in timeline]
    slow = values(shown, "run-2", "Latency over time")
    for key in ("p50", "p95", "p99"):
        assert [y for _, y in slow[key]] == pytest.approx([one[f"{key}_s"] for one in timeline], rel=1e-5)
    failures = values(shown, "run-2", "Failures over time")["failures"]
    assert sum(y or 0 for _, y in failures) == sum(one["failures"] for one in timeline)
    curve = values(shown, "run-2", "Latency distribution")
    assert set(curve) == {"response", "service"}
    waits = values(shown, "run-2", "Waits over time")
    assert [y for _, y in waits["Lock"]] == [40 + second % 5 for second in range(60)]
    at_p50 = min(curve["response"], key=lambda point: abs(point[0] - 2))
    assert at_p50[1] == pytest.approx(0.004, rel=0.05)


def test_comparison_and_scaling_are_drawn(shown: Browser) -> None:
    """Both arms are one picture; each pair has its dot; measured points and the law share the axis."""
    assert set(values(shown, "comparison-0", "Latency of both arms")) == {"old", "new"}
    pairs = values(shown, "comparison-0", "Effect pair by pair")
    assert [y for _, y in pairs["pair"]] == pytest.approx([one["ratio"] for one in comparison()["effects"]], rel=1e-5)
    curve = values(shown, "sweep-0", "Throughput by workers")
    measured = {x: y for x, y in curve["throughput"] if y is not None}
    assert measured == pytest.approx({p["workers"]: p["throughput_per_s"] for p in sweep()["points"]}, rel=1e-5)


def test_pictures_are_labelled_and_marked(shown: Browser) -> None:
    """Axes have names and units, the legend has the series; stages, checkpoints and failed checks stand in the SVG."""
    text = shown.run("return document.querySelector('#run-2').innerHTML")
    for label in (
        "10-&gt;50 workers for 30 s",
        "checkpoint",
        "health: replication lag",
        "p99.9",
        "10 ms",
        "30 s",
        "1,000/s",
    ):
        assert f">{label}</text>" in text, label
    roles = shown.run("return [...document.querySelectorAll('.plot')].map((one) => one.getAttribute('aria-label'))")
    assert len(roles) == 11
    assert all("The table below holds the same numbers." in role for role in roles)


def test_every_picture_has_a_table_with_its_numbers(shown: Browser) -> None:
    """Opening a table shows one row for each point, in the units of the axis."""
    rows = shown.later(
        "const done = arguments[0]; const all = [...document.querySelectorAll('details.data')];"
        "all.forEach((one) => { one.open = true; });"
        "setTimeout(() => done(all.map((one) => one.querySelectorAll('tbody tr').length)), 300)"
    )
    assert len(rows) == 11
    assert min(rows) > 1
    row = "return document.querySelectorAll('#run-2 details.data')[1].querySelector('tbody').rows[12].innerText"
    assert shown.run(row).split("\t") == ["12 s", "125/s"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_schemes_have_their_colours(shown: Browser, scheme: str) -> None:
    """The page follows the system's colours, its pictures with it."""
    shown.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    paper = shown.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    line = shown.run("return document.querySelector('#run-2 .plot').innerHTML")
    assert {"light": "#1f6fc4", "dark": "#62a8f0"}[scheme] in line


def test_it_prints(shown: Browser, tmp_path: Path) -> None:
    """Printed in dark surroundings it is black on white, with all pictures drawn."""
    shown.command(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    assert shown.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.command("Page.printToPDF")["data"].startswith("JVBERi")
    shown.command("Emulation.setEmulatedMedia", media="", features=[])


def test_hostile_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    """Names that are scripts run nowhere: not in headings, tables, legends, marks or hovering texts."""
    attack = "<script>alert(1)</script><img src=x onerror='window.hit=1'>"
    run = long_run(name=attack)
    one = run["operations"]["test_transfer"]
    run["operations"] = {attack: one, f"{attack}2": one}
    run["stages"][0]["label"] = run["health"][1]["check"] = run["server_activity"]["events"][0]["kind"] = attack
    out = tmp_path / "page.html"
    write(full_document() | {"runs": [run], "comparisons": [comparison() | {"arms": [attack, "b"]}]}, out)
    browser.complaints()
    browser.open(out)
    browser.run(DRAW_ALL)
    browser.later(
        "const done = arguments[0]; document.querySelectorAll('.plot').forEach((one) =>"
        " echarts.getInstanceByDom(one).dispatchAction({type: 'showTip', seriesIndex: 0, dataIndex: 1}));"
        "setTimeout(done, 300)"
    )
    assert browser.run("return window.hit") is None
    assert browser.run("return document.querySelectorAll('img, script:not([type])').length") == 2
    assert attack in browser.run("return document.querySelector('#run-0 h2').textContent")
    assert attack in browser.run("return document.querySelector('#run-0 .plot').textContent")
    assert browser.complaints() == []
