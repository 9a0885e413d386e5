"""Stored records: kept, read back, and laid beside each other with what differs between them."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.cli import DIFFERENT, FINE, WRONG, main
from pytest_stormdb.record import SessionRecord
from pytest_stormdb.reports.document import document
from pytest_stormdb.reports.saved import differences, figure, fingerprint, history, save
from pytest_stormdb.reports.trend import compared, costs_more, trend

from ..records import plain_record, server_activity


def made(factor: float = 1.0, **environment: Any) -> dict[str, Any]:
    """A session of one run whose latencies are so many times as long."""
    found: dict[str, Any] = json.loads(json.dumps(document(SessionRecord((plain_record(),)))))
    for key in ("p50_s", "p95_s", "p99_s"):
        found["runs"][0]["totals"]["response"][key] *= factor
    found["environment"] |= environment
    return found


def test_sessions_are_kept_in_their_order(tmp_path: Path) -> None:
    """Each session has a file of its own, numbered on; what is read back is what was saved."""
    folder = tmp_path / ".stormdb" / "main"
    sessions = [made(factor) for factor in (1.0, 1.1, 1.2)]
    assert [save(session, folder).name for session in sessions] == ["000001.json", "000002.json", "000003.json"]
    assert list(history(folder)) == sessions
    assert list(history(tmp_path / "nothing")) == []


def test_the_table_has_a_line_for_each_run(tmp_path: Path) -> None:
    """A header, then time, commit and figures: what Otava's CSV importer takes."""
    save(made(), tmp_path, "abc123")
    save(made(2.0), tmp_path, "def456")
    (table,) = tmp_path.glob("*.csv")
    assert table.name == "test_shop.py_test_read.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["commit"] for row in rows] == ["abc123", "def456"]
    assert float(rows[1]["p95"]) == pytest.approx(2 * float(rows[0]["p95"]))
    assert rows[0]["throughput"] == "100.0"


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=5)), st.dictionaries(st.text(max_size=5), st.text(max_size=5))
)
def test_differences_are_told_both_ways(first: dict[str, str], second: dict[str, str]) -> None:
    """As many in one direction as in the other, and none of what is alike."""
    assert len(differences(first, second)) == len(differences(second, first))
    assert (differences(first, second) == []) == (first == second)


def test_a_fingerprint_is_of_machine_software_server_and_load() -> None:
    """Another number of CPUs, of workers, or another setting is another fingerprint; another seed is not."""
    base = made()
    own = fingerprint(base, base["runs"][0])
    assert differences(own, fingerprint(made(cpus=64), base["runs"][0]))[0].endswith("-> 64")
    changed = copy.deepcopy(base)
    changed["runs"][0]["plan"] |= {"workers": 9, "seed": 5}
    changed["runs"][0]["server"]["settings"]["fsync"] = "off"
    assert differences(own, fingerprint(changed, changed["runs"][0])) == ["setting fsync on -> off", "workers 4 -> 9"]


def test_a_run_is_laid_beside_those_before() -> None:
    """Ten runs predict the next one; one twice as slow is above, and it is said what could have been seen."""
    earlier = [made(1 + step / 100) for step in range(10)]
    lines = list(trend(made(2.0), earlier, "main", 0.1))
    assert lines[0] == "test_shop.py::test_read: 10 earlier runs like it under 'main'"
    assert lines[2].startswith("  p95 380 ms: above 1")
    assert "% could be seen" in lines[2]
    assert "it takes to tell" not in lines[2]
    within = list(trend(made(1.05), earlier[:3], "main", 0.1))
    assert next(trend(made(), earlier[:1], "main", 0.1)).endswith(": 1 earlier run like it under 'main'")
    assert within[2].startswith("  p95 200 ms: within")
    assert within[2].endswith("could be seen, from 3 of the 10 runs it takes to tell")


def test_unlike_runs_are_not_compared() -> None:
    """Runs from another machine are counted, and what differs is named."""
    lines = list(trend(made(), [made(cpus=64), made(cpus=64)], "main", 0.1))
    assert lines[0].endswith(": 0 earlier runs like it under 'main'")
    assert lines[1].startswith("  not compared with 2 that were made otherwise: cpus 64 -> ")
    assert len(lines) == 2


def test_two_sessions_are_compared_with_what_differs() -> None:
    """Ratios run by run, what is unlike beside the name, and what such a comparison is worth at the end."""
    lines = list(compared(made(), made(1.5, cpus=64), 0.1))
    assert lines[0].startswith("test_shop.py::test_read  (unlike: cpus ")
    assert lines[2].split() == ["p95", "190", "ms", "285", "ms", "+50.0", "%"]
    assert lines[-1].startswith("One run each: ")
    nothing = made() | {"runs": []}
    assert next(compared(nothing, made(), 0.1)) == "test_shop.py::test_read: only in the second"
    assert next(compared(made(), nothing, 0.1)) == "test_shop.py::test_read: only in the first"


def test_a_figure_that_is_missing_is_none() -> None:
    """Older records, and servers that count nothing, have no costs."""
    run = made()["runs"][0]
    assert figure(run, "p95") == pytest.approx(0.19, rel=1e-3)
    assert figure(run | {"server_activity": None}, "server.blocks_per_op") is None


def costing(blocks: float, temp_bytes: float = 0.0) -> dict[str, Any]:
    """A session of one run whose operations cost so much."""
    record = plain_record(server_activity=server_activity())
    found: dict[str, Any] = json.loads(json.dumps(document(SessionRecord((record,)))))
    found["runs"][0]["server_activity"] |= {"blocks_per_op": blocks, "temp_bytes_per_op": temp_bytes}
    return found


@pytest.mark.parametrize(
    ("now", "line", "is_more"),
    [
        (costing(4.2), "server.blocks_per_op 4 4.2 +5.0 % not more than +10 %", False),
        (costing(6.0), "server.blocks_per_op 4 6 +50.0 % more than +10 %", True),
        (costing(1.0), "server.blocks_per_op 4 1 -75.0 % not more than +10 %", False),
        (costing(4.0, 8192), "server.temp_bytes_per_op 0 8192 from nothing more than +10 %", True),
    ],
)
def test_costs_are_judged_against_stored_ones(now: dict[str, Any], line: str, is_more: bool) -> None:
    """Then, now, the change, and whether it is more than the margin; what is nothing in both is left out."""
    lines = [" ".join(each.split()) for each in compared(costing(4.0), now, 0.1)]
    assert line in lines
    assert sum("server.temp_bytes" in each for each in lines) == (
        now["runs"][0]["server_activity"]["temp_bytes_per_op"] > 0
    )
    assert costs_more(costing(4.0), now, 0.1) is is_more
    assert line in [" ".join(each.split()) for each in trend(now, [costing(9.0), costing(4.0)], "main", 0.1)]
    assert not costs_more(made(), now, 0.1)


@pytest.mark.parametrize(("options", "status"), [((), DIFFERENT), (("--margin=60%",), FINE), (("--margin=x",), WRONG)])
def test_the_command_ends_with_what_costs_say(tmp_path: Path, options: tuple[str, ...], status: int) -> None:
    """Half as much again is different at 10 %, fine at 60 %; a margin that is none is told."""
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, blocks in zip(files, (4.0, 6.0), strict=True):
        file.write_text(json.dumps(costing(blocks)))
    assert main(["compare", *map(str, files), *options]) == status
