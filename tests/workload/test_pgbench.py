"""What ``pgbench(...)`` describes, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.errors import PlanError, WorkloadError
from pytest_stormdb.workload.pgbench import Pgbench, Script, described, pgbench


def describe(*scripts: Any, **options: Any) -> Pgbench:
    found = described(pgbench(*scripts, **options))
    assert found is not None
    return found


def test_scripts_and_weights() -> None:
    """The last @ begins the weight, which is 1 where there is none; the file's name is the operation's."""
    mix = describe("sql/transfer.sql@9", "balance.sql", Path("a@b.sql@0"), builtin="select@3")
    assert mix.scripts == (
        Script("transfer", 9, Path("sql/transfer.sql")),
        Script("balance", 1, Path("balance.sql")),
        Script("a@b", 0, Path("a@b.sql")),
        Script("select-only", 3, None),
    )
    assert mix.names == ("transfer", "balance", "a@b", "select-only")


@given(st.integers(0, 10**9 - 1), st.text("abc@.-", min_size=1).filter(lambda text: Path(text).name != ""))
def test_any_weight_comes_back(weight: int, name: str) -> None:
    """What stands before the last @ is the file, whatever it contains."""
    scripts = describe(f"{name}@{weight}", "other.sql@1").scripts
    assert (scripts[0].path, scripts[0].weight) == (Path(name), weight)


def test_files_of_one_name_keep_their_folders() -> None:
    """Two files called the same are two operations."""
    assert describe("old/transfer.sql", "new/transfer.sql").names == ("old/transfer.sql", "new/transfer.sql")


def test_defaults() -> None:
    """Prepared statements, scale 1; pgbench's tables are made for its own scripts, and for nobody else's."""
    own, builtin = describe("a.sql"), describe(builtin="tpcb-like", scale=10)
    assert (own.mode, own.scale, own.initialize, own.latency_limit_ns) == ("prepared", 1, None, None)
    assert (builtin.scale, builtin.initialize) == (10, ())
    assert describe("a.sql", initialize=True).initialize == ()
    assert describe("a.sql", initialize=["--fillfactor=90"]).initialize == ("--fillfactor=90",)
    assert describe(builtin="simple-update", initialize=False).initialize is None
    assert describe("a.sql", latency_limit="50ms").latency_limit_ns == 50_000_000


def test_variables_become_text() -> None:
    """Numbers, truth values, nothing and texts are written as pgbench reads them."""
    given_values = {"a": 1, "b": 0.5, "c": True, "d": None, "e": "x y"}
    assert describe("a.sql", variables=given_values).variables == {
        "a": "1", "b": "0.5", "c": "true", "d": "null", "e": "x y",
    }  # fmt: skip


def test_given_variables_are_stronger_and_scale_is_the_scale() -> None:
    """Parameters of the run replace variables of the description; ``scale`` is no variable among others."""
    changed = describe("a.sql", variables={"a": 1, "b": 2}).given({"b": 3, "scale": "7"}, "--stormdb-param")
    assert (changed.variables, changed.scale) == ({"a": "1", "b": "3"}, 7)
    with pytest.raises(PlanError, match=r"--stormdb-param: scale: 'x' is not a whole number above zero"):
        describe("a.sql").given({"scale": "x"}, "--stormdb-param")
    with pytest.raises(PlanError, match=r"bank.yaml: 'a-b' cannot be a variable of pgbench"):
        describe("a.sql").given({"a-b": 1}, "bank.yaml")
    with pytest.raises(PlanError, match=r"bank.yaml: list is a list; a variable of pgbench is a number"):
        describe("a.sql").given({"list": [1]}, "bank.yaml")


@pytest.mark.parametrize(
    ("scripts", "options", "complaint"),
    [
        ((), {}, "pgbench: no script; give files"),
        (("@1",), {}, "pgbench: '@1' names no script"),
        (("a.sql@x",), {}, "pgbench: 'a.sql@x': the weight 'x' is not a whole number of 0 or more"),
        (("a.sql@-1",), {}, "the weight '-1' is not"),
        (("a.sql@",), {}, "the weight '' is not"),
        (("a.sql@0",), {}, "all weights are 0"),
        (("a.sql", "a.sql@2"), {}, "a.sql is given twice; give it once, with the sum of both weights"),
        ((), {"builtin": "s"}, "builtin 's' stands for several of tpcb-like, simple-update, select-only"),
        ((), {"builtin": "tpcc"}, "builtin 'tpcc' is not one of tpcb-like, simple-update, select-only"),
        (("a.sql",), {"scale": 0}, "pgbench: scale: 0 is not a whole number above zero"),
        (("a.sql",), {"scale": True}, "scale: True is not a whole number"),
        (("a.sql",), {"mode": "fast"}, "mode 'fast' is none of simple, extended, prepared"),
        (("a.sql",), {"variables": {"a": object()}}, "a is a object; a variable of pgbench is a number"),
        (("a.sql",), {"variables": {"": 1}}, "'' cannot be a variable of pgbench"),
        (("a.sql",), {"latency_limit": "soon"}, "latency_limit: 'soon' is not a duration"),
        (("a.sql",), {"latency_limit": "0"}, "latency_limit: '0' is below pgbench's microsecond"),
        (("a.sql",), {"initialize": "-F90"}, 'give a list of options, as ["--fillfactor=90"]'),
        (tuple(f"{n}.sql" for n in range(129)), {}, "129 scripts, and it takes 128 at most"),
    ],
)
def test_what_is_refused(scripts: tuple[str, ...], options: dict[str, Any], complaint: str) -> None:
    """Each mistake is told by its name when the module is read."""
    with pytest.raises(WorkloadError, match=re.escape(complaint)):
        pgbench(*scripts, **options)


def test_scripts_lie_beside_the_module(tmp_path: Path) -> None:
    """A relative path counts from the module's folder, and a file that is not there is told with both."""
    (tmp_path / "a.sql").write_text("SELECT 1;")
    assert describe("a.sql").beside(tmp_path).scripts == (Script("a", 1, tmp_path / "a.sql", b"SELECT 1;"),)
    with pytest.raises(WorkloadError, match=r"pgbench script b.sql: No such file or directory; looked for /.*/b.sql"):
        describe("b.sql").beside(tmp_path)


def test_what_was_looked_at_is_what_runs(tmp_path: Path) -> None:
    """A copy holds what a script held when it was read, not what it holds by now; a builtin needs none."""
    (tmp_path / "a.sql").write_text("SELECT 1;")
    looked_at = describe("a.sql", builtin="select-only").beside(tmp_path)
    (tmp_path / "a.sql").write_text("SELECT 2;")
    copies = tmp_path / "copies"
    copies.mkdir()
    script, builtin = looked_at.copied_to(copies).scripts
    assert script.copy is not None
    assert (script.copy.read_text(), script.path, builtin.copy) == ("SELECT 1;", tmp_path / "a.sql", None)


def test_shell_commands_need_permission(tmp_path: Path) -> None:
    """A script is data to most people: one that starts programs is named, with file, line and the way to allow it."""
    (tmp_path / "a.sql").write_text("SELECT 1;\n\\shell true\n")
    with pytest.raises(WorkloadError, match=r"a.sql:2: the script runs a shell command; allow .*shell=True"):
        describe("a.sql").beside(tmp_path)
    assert describe("a.sql", shell=True).beside(tmp_path).scripts[0].path == tmp_path / "a.sql"


def test_it_is_a_function_that_marks_can_be_put_on() -> None:
    """pytest collects functions; a mark is put on one by calling it, and its place is where it was written."""
    line = test_it_is_a_function_that_marks_can_be_put_on.__code__.co_firstlineno + 3
    made: Any = pytest.mark.stormdb(workers=4)(pgbench("a.sql"))
    assert [mark.kwargs for mark in made.pytestmark] == [{"workers": 4}]
    assert (made.__code__.co_filename, made.__code__.co_firstlineno) == (__file__, line)
    assert described(made) == describe("a.sql")
    assert described(describe) is None
