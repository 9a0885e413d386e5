"""The terminal summary: letter by letter at two widths, and what must hold at every width."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.load.plan import make_plan
from pytest_stormdb.measurement.scalability import Point, Sweep
from pytest_stormdb.record import RunOutcome, RunRecord, SessionRecord
from pytest_stormdb.reports.lines import Style
from pytest_stormdb.reports.terminal import lines, write
from pytest_stormdb.verdict.threshold import Threshold, Verdict

from .. import golden
from ..records import ELSEWHERE, plain_record, rich_record, snapshot, statistics


def text_of(*records: RunRecord, width: int = 80, sweeps: tuple[Sweep, ...] = ()) -> str:
    return "".join(f"{line.text}\n" for line in lines(SessionRecord(records, sweeps), Style(width)))


def judged(nodeid: str, p99_s: float, outcome: RunOutcome) -> RunRecord:
    """A run with a threshold that it meets or misses."""
    threshold = Threshold.parse("p99 < 20ms")
    verdict = Verdict(threshold, "pass" if outcome == "passed" else "fail", p99_s, p99_s * 0.9, p99_s * 1.1)
    reasons = () if outcome == "passed" else (f"{verdict.missed}: certain (it, 4 workers, 200 operations)",)
    return plain_record(nodeid=nodeid, outcome=outcome, verdicts=(verdict,), reasons=reasons)


SWEEP = Sweep(
    "test_shop.py::test_read", tuple(Point(n, 500.0 * n / (1 + 0.05 * (n - 1)), 0.002, 0.009) for n in (1, 2, 4, 8, 16))
)
PARAMETRISED = [
    judged(f"test_shop.py::test_read[{size}-rows]", 0.010 + 0.001 * size, "failed" if size > 9 else "passed")
    for size in range(1, 13)
]


@pytest.mark.parametrize("width", [80, 160])
def test_a_session_with_everything(width: int) -> None:
    """Failures before passes; stages, parts, errors, thresholds; parameters as one table; a curve; both servers."""
    records = (plain_record(), judged("test_shop.py::test_pay", 0.012, "passed"), rich_record(), *PARAMETRISED)
    shown = text_of(*records, plain_record(server=ELSEWHERE), width=width, sweeps=(SWEEP,))
    golden.check(f"terminal_{width}.txt", shown)


def test_a_plain_run() -> None:
    """One operation is one row; then the server's identity, which says that it shares this machine."""
    assert text_of(plain_record(), width=100) == (
        "✔ test_shop.py::test_read\n"
        "  4 workers, 2.0 s\n"
        "  operation  count  failed   rate     p50     p95     p99     max\n"
        "  read         200       0  100/s  100 ms  190 ms  198 ms  200 ms\n"
        "\n"
        "PostgreSQL 18.4 (embedded on this machine, which these numbers measure too); fsync on,\n"
        "  shared_buffers 128MB\n"
    )


def test_the_worst_comes_first() -> None:
    """Errors before failures, then what is in doubt, then what passed; equals stay in their order."""
    outcomes: list[RunOutcome] = ["passed", "inconclusive", "failed", "invalid", "error", "failed"]
    records = [plain_record(nodeid=f"t.py::test_{i}", outcome=outcome) for i, outcome in enumerate(outcomes)]
    titles = [line[2:] for line in text_of(*records).splitlines() if "t.py::" in line]
    assert titles == [f"t.py::test_{i}" for i in (4, 2, 5, 3, 1, 0)]


def test_parameters_are_one_table() -> None:
    """Twelve runs of one function share a table, failures above; what was met is counted, what was missed is told."""
    shown = text_of(*PARAMETRISED).splitlines()
    assert shown[:2] == ["✘ test_shop.py::test_read", "  12 runs, each with 4 workers, 2.0 s"]
    assert [line.split()[1] for line in shown[3:15]] == [f"[{n}-rows]" for n in (10, 11, 12, *range(1, 10))]
    assert shown[15].startswith("  [10-rows] ✘ p99 < 20ms  20.0 ms  fail: certain (18.0 ms to 22.0 ms over")
    assert "  ✔ 9 thresholds met" in shown
    many = [dataclasses.replace(run, nodeid=f"t.py::test_it[{i}]") for i, run in enumerate([PARAMETRISED[-1]] * 30)]
    assert "  and 18 lines more; the reports in files have them" in text_of(*many, width=160).splitlines()


def test_many_tests_that_passed_are_one_table() -> None:
    """Beyond twelve, tests that passed have a row each; what failed keeps its block, and stands first."""
    many = [plain_record(nodeid=f"t.py::test_{i}") for i in range(30)]
    shown = text_of(*many[:15], judged("t.py::test_bad", 0.5, "failed"), *many[15:]).splitlines()
    assert shown[0] == "✘ t.py::test_bad"
    assert "✔ 30 tests that passed" in shown
    assert len(shown) == 7 + 2 + 30 + 3
    few = text_of(*many[:12])
    assert few.count("✔ t.py::test_") == 12


def test_a_sweep_is_no_table_of_parameters() -> None:
    """Runs of one test at several worker counts are a block each, and a curve below."""
    runs = [plain_record(plan=make_plan(("test", {"workers": n, "duration": "2s"}))) for n in (1, 2)]
    shown = text_of(*runs, sweeps=(SWEEP,))
    assert shown.count("✔ test_shop.py::test_read\n") == 2
    assert "  knee: 16 workers, the fewest within 5 % of the best rate\n" in shown


def test_the_second_line_says_how_it_was_run() -> None:
    """One worker is no plural; iterations, an open loop, and threads where there is no fork, are said."""
    plan = make_plan(("test", {"iterations": 1000, "rate": "50/s", "arrivals": "poisson"}))
    record = plain_record(plan=plan, layout=(1,), forked=False, statistics=statistics(snapshot(read=1), 3.21))
    assert text_of(record, width=200).splitlines()[1] == (
        "  1 worker, 50.0/s poisson, 1,000 iterations each, 3.2 s,"
        " threads: this system cannot fork, so the interpreter lock is in the latency"
    )


def test_a_run_without_operations_is_all_dashes() -> None:
    """Nothing measured is shown as nothing, and the reason with it."""
    record = plain_record(outcome="failed", statistics=statistics(snapshot()), reasons=("no iteration succeeded",))
    assert text_of(record).splitlines()[:5] == [
        "✘ test_shop.py::test_read",
        "  4 workers, 2.0 s",
        "  operation  count  failed  rate  p50  p95  p99  max",
        "  all            0       0   0/s    -    -    -    -",
        "  no iteration succeeded",
    ]


def test_a_name_too_long_stands_above_its_figures() -> None:
    """At 80 columns no figure is cut and no line wraps: the name takes a line of its own."""
    whole = snapshot(read=200)
    whole.tallies["an_operation_with_a_very_long_name_indeed"] = whole.tallies.pop("read")
    shown = text_of(plain_record(statistics=statistics(whole)), width=80).splitlines()
    assert shown[2:5] == [
        "  operation  count  failed   rate     p50     p95     p99     max",
        "  an_operation_with_a_very_long_name_indeed",
        "               200       0  100/s  100 ms  190 ms  198 ms  200 ms",
    ]


def test_lines_have_tones_and_signs() -> None:
    """Good news, bad news and doubts are told apart by sign and by colour; letters stand in for signs in ASCII."""
    found = {line.text.strip(): line.tone for line in lines(SessionRecord((rich_record(),)), Style(120))}
    assert found["✘ test_shop.py::test_mix"] == "bad"
    assert found["generator: a garbage collection in a worker took 2.00 ms"] == "doubtful"
    assert found["✘ p50 < 1ms [read]  100 ms  fail: certain"] == "bad"
    plain = [line.text for line in lines(SessionRecord((rich_record(),), (SWEEP,)), Style(120, ascii_only=True))]
    assert "".join(plain).isascii()
    assert plain[0] == "x test_shop.py::test_mix"


def test_lines_are_written_with_their_colours() -> None:
    """Each line goes to the writer once, with the markup of its tone."""
    written: list[tuple[str, dict[str, bool]]] = []

    class Out:
        def write_line(self, line: str, **markup: bool) -> None:
            written.append((line, markup))

    write(SessionRecord((rich_record(), plain_record())), Out(), Style())
    assert written[0] == ("✘ test_shop.py::test_mix", {"red": True})
    assert ("✔ test_shop.py::test_read", {"bold": True}) in written


@given(st.integers(60, 200), st.text(max_size=100))
def test_text_stays_within_the_width(width: int, text: str) -> None:
    """Whatever an error or a check says, its lines are no wider than the terminal and hold nothing invisible."""
    record = dataclasses.replace(rich_record(), reasons=(text,), lost=())
    for line in lines(SessionRecord((record,)), Style(width)):
        assert len(line.text) <= max(width, 72)
        assert "\x1b" not in line.text
        assert "\n" not in line.text
