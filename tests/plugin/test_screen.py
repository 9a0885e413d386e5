"""The live view on a real terminal device, and plain lines where there is none."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_stormdb.plugin.screen import mode_of

from ..conftest import Suite
from .terminal import Terminal, follow, running

LONG = """
    import pytest

    def test_before():
        pass

    @pytest.fixture(scope="module")
    def rows(stormdb_connection, stormdb_progress):
        import time
        with stormdb_progress("account", total=1000) as loading:
            for _ in range(10):
                loading.advance(100)
                time.sleep(0.1)
        return 1000

    @pytest.mark.stormdb(workers=2, rate="200/s", duration="2s", warmup="500ms")
    def test_it(worker, rows):
        print("hidden")
        worker.conn.execute("SELECT 1")

    def test_after():
        print("hidden too")
"""


@pytest.fixture
def environment(suite: Suite) -> dict[str, str]:
    """The suite's environment; its session's server is the target."""
    return dict(os.environ)


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-p", "stormdb", *options]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("verbosity", ["-v", "--color=yes"])
def test_a_block_below_the_open_line(suite: Suite, environment: dict[str, str], columns: int, verbosity: str) -> None:
    """The block comes and goes; afterwards the screen is what it would be without it, and the cursor is there."""
    suite.write(LONG)
    with running(command(verbosity), suite.path, environment, columns) as (process, terminal, ours):
        follow(terminal, ours, "loading account")
        assert not terminal.cursor_is_visible
        follow(terminal, ours, "measuring")
        assert "test_it.py::test_it" in terminal.text
        follow(terminal, ours)
        assert process.wait() == 0
    assert terminal.cursor_is_visible
    assert any("1,000 rows" in seen or "of 1,000 rows" in seen for seen in terminal.seen)
    assert any(re.search(r"\d/s .*errors 0", seen) for seen in terminal.seen)
    rows = terminal.text.splitlines()
    tests = [row for row in rows if row.startswith("test_it.py")]
    if verbosity == "-v":
        assert [" ".join(row.split()[:2]) for row in tests[:3]] == [
            "test_it.py::test_before PASSED",
            "test_it.py::test_it PASSED",
            "test_it.py::test_after PASSED",
        ]
    else:
        assert tests[0].split()[:2] == ["test_it.py", "..."]
    for word in ("measuring", "s left", "loading", "hidden", "━"):
        assert word not in terminal.text
    assert all(len(row) <= columns for row in rows)


@pytest.mark.slow
def test_ctrl_c_gives_the_cursor_back(suite: Suite, environment: dict[str, str]) -> None:
    """One interrupt ends the run and reports; the block is gone and the cursor is seen."""
    suite.write(LONG.replace('duration="2s"', 'duration="60s"'))
    with running(command(), suite.path, environment, 100) as (process, terminal, ours):
        follow(terminal, ours, "measuring")
        process.send_signal(signal.SIGINT)
        follow(terminal, ours)
        process.wait()
    assert terminal.cursor_is_visible
    assert "stopped by SIGINT" in terminal.text
    assert "measuring" not in terminal.text


@pytest.mark.slow
def test_two_interrupts_give_the_cursor_back(suite: Suite, environment: dict[str, str]) -> None:
    """The second interrupt leaves at once, and not without the cursor."""
    suite.write(
        LONG.replace('duration="2s"', 'duration="60s"').replace('execute("SELECT 1")', 'execute("SELECT pg_sleep(30)")')
    )
    with running(command(), suite.path, environment, 100) as (process, terminal, ours):
        follow(terminal, ours, "measuring")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        follow(terminal, ours)
        process.wait()
    assert terminal.cursor_is_visible
    assert "KeyboardInterrupt" in terminal.text


@pytest.mark.slow
@pytest.mark.parametrize(("options", "term"), [(["-s"], "xterm"), ([], "dumb"), (["-q"], "xterm"), (["-n0"], "xterm")])
def test_other_terminals_have_no_block(
    suite: Suite, environment: dict[str, str], options: list[str], term: str
) -> None:
    """With -s, on a dumb terminal and under -q nothing is drawn over; without workers of xdist it is."""
    suite.write(LONG.replace("sleep(0.1)", "sleep(0.01)").replace('duration="2s"', 'duration="1s"'))
    plugins = ["-p", "xdist"] if options == ["-n0"] else []
    given = environment | {"TERM_OF_TEST": term}
    with running(command(*plugins, *options), suite.path, given, 100) as (process, terminal, ours):
        follow(terminal, ours)
        assert process.wait() == 0
    drawn = any("━" in seen for seen in terminal.seen)
    assert drawn == (options == ["-n0"])


@pytest.mark.slow
def test_plain_lines_in_a_pipe(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a line comes each interval, whole lines each, and the outcome has its file before it."""
    suite.write(LONG)
    suite.write(
        conftest="""
        import pytest_stormdb.plugin.screen as screen
        screen.LineScreen.every_s = 0.4
        """
    )
    result = suite.run()
    result.assert_outcomes(passed=3)
    lines = result.outlines
    told = [line for line in lines if line.startswith("stormdb: ")]
    assert any(line.startswith("stormdb: loading account: ") and "of 1,000 rows" in line for line in told)
    assert any(line.startswith("stormdb: test_it.py::test_it: measuring ") and "errors 0" in line for line in told)
    after = next(line for line in lines[lines.index(told[-1]) + 1 :] if line)
    assert after.split()[:2] == ["test_it.py", ".."]


def stub(**changes: Any) -> Any:
    """What is asked of pytest's config."""
    given: dict[str, Any] = {
        "isatty": True,
        "verbosity": 0,
        "capture": "fd",
        "log_cli": False,
        "module": "_pytest.terminal",
    }
    given |= changes
    reporter = type("Reporter", (), {"__module__": given["module"], "isatty": given["isatty"]})()
    options = {"capture": given["capture"], "log_cli_level": None, "numprocesses": given.get("numprocesses")}
    return SimpleNamespace(
        pluginmanager=SimpleNamespace(get_plugin=lambda name: given.get("reporter", reporter)),
        get_verbosity=lambda: given["verbosity"],
        getini=lambda name: given[name],
        getoption=lambda name, default=None: options.get(name, default),
    )


@pytest.mark.parametrize(
    ("changes", "environment", "mode"),
    [
        ({}, {}, "block"),
        ({"isatty": False}, {}, "lines"),
        ({}, {"TERM": "dumb"}, "lines"),
        ({}, {"CI": "true"}, "lines"),
        ({"capture": "no"}, {}, "lines"),
        ({"log_cli": True}, {}, "lines"),
        ({"numprocesses": 2}, {}, "lines"),
        ({"module": "pytest_sugar"}, {}, "lines"),
        ({"verbosity": -1}, {}, "silent"),
        ({"reporter": None}, {}, "silent"),
    ],
)
def test_when_a_block_is_drawn(
    changes: dict[str, Any], environment: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block needs a terminal that is ours alone, and a reporter that is pytest's own."""
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(encoding="utf-8"))
    assert mode_of(stub(**changes), environment) == mode


def test_the_terminal_of_these_tests() -> None:
    """Text, overwriting, going up, erasing and wrapping do what a terminal does."""
    terminal = Terminal(5)
    terminal.feed("abc\r\ndefgh\x1b[1A\x1b[2GX\x1b[?25l")
    assert terminal.text == "aXc\ndefgh"
    assert not terminal.cursor_is_visible
    terminal.feed("\x1b[2K\r123456")
    assert terminal.text == "12345\n6efgh"
