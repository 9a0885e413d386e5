"""What pgbench said at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_stormdb.engine.report import Counts, counts_in, error_in, has_errors
from pytest_stormdb.errors import ServerError, WorkloadError
from pytest_stormdb.workload.pgbench import Pgbench, described, pgbench

REPORT = """pgbench (18.4)
number of transactions actually processed: 86340
number of failed transactions: 12 (0.014%)
total number of retries: 7
number of transactions skipped: 112277 (56.529%)
number of transactions above the 1.0 ms latency limit: 67045/86340 (77.652%)
tps = 43282.317614 (without initial connection time)
"""


@pytest.fixture
def description(tmp_path: Path) -> Pgbench:
    (tmp_path / "a.sql").write_text("SELECT 1;\n\n\\set a 1\nSELECT 1 / 0;\n")
    found = described(pgbench("a.sql", builtin="select-only"))
    assert found is not None
    return found.beside(tmp_path)


def test_counts_of_the_report() -> None:
    """Each count is found by its words; a report of some iterations has a slash behind the number."""
    assert counts_in(REPORT) == Counts(processed=86340, failed=12, skipped=112277, retries=7, late=67045)
    assert counts_in("number of transactions actually processed: 400/400\n") == Counts(processed=400)
    assert counts_in("nothing of the kind") is None


def test_what_scripts_print_is_no_error() -> None:
    """``debug()`` and notices of pgbench itself are not complaints."""
    assert not has_errors("pgbench: setting random seed to 0\ndebug(script=0,command=1): int 5\n")
    assert has_errors("debug(script=0,command=1): int 5\npgbench: error: something\n")


def test_an_error_in_a_copy(description: Pgbench, tmp_path: Path) -> None:
    """pgbench is given copies of scripts; what it says of one names the script, and its line is of what was copied."""
    copies = tmp_path / "copies"
    copies.mkdir()
    copied, path = description.copied_to(copies), description.scripts[0].path
    assert path is not None
    path.write_text("")
    told = f'pgbench: error: {copies}/0.sql:1: syntax error in command "set"\n'
    assert str(error_in(told, copied)) == f'pgbench: {path}:1: syntax error in command "set"'
    told = "pgbench: error: client 0 script 0 aborted in command 2 query 0: ERROR:  division by zero\n"
    assert str(error_in(told, copied)).endswith(f"\nat {path}:4")


def test_an_error_with_file_and_line(description: Pgbench) -> None:
    """Script and command numbers become a place; what comes after the first located message is a consequence."""
    text = (
        "pgbench: setting random seed to 0\n"
        "pgbench: error: client 0 script 0 aborted in command 2 query 0: ERROR:  division by zero\n"
        "pgbench: error: client 1 script 0 aborted in command 2 query 0: ERROR:  division by zero\n"
        "pgbench: error: Run was aborted; the above results are incomplete.\n"
    )
    error = error_in(text, description)
    assert type(error) is WorkloadError
    path = description.scripts[0].path
    assert str(error) == (
        "pgbench: client 0 script 0 aborted in command 2 query 0: ERROR:  division by zero"
        f"\nat {path}:4"
    )  # fmt: skip


def test_an_error_of_several_messages(description: Pgbench) -> None:
    """What led to the located message comes with it; a builtin has no file."""
    text = (
        "pgbench: error: division by zero\n"
        "debug(script=1,command=1): int 5\n"
        "pgbench: error: client 0 aborted in command 0 (set) of script 1; evaluation of meta-command failed\n"
    )
    assert str(error_in(text, description)) == (
        "pgbench: division by zero; client 0 aborted in command 0 (set) of script 1;"
        " evaluation of meta-command failed\nin builtin select-only"
    )


def test_syntax_errors_keep_their_picture(description: Pgbench) -> None:
    """pgbench's own file, line, text and caret stay as they are."""
    text = 'pgbench: error: bad.sql:1: syntax error in command "set"\n\\set a 1 +\n          ^ error found here\n'
    assert str(error_in(text, description)) == (
        'pgbench: bad.sql:1: syntax error in command "set"\n\\set a 1 +\n          ^ error found here'
    )


def test_errors_of_the_server_are_the_servers(description: Pgbench) -> None:
    """A connection that fails is no mistake of the script; version 14 says fatal where others say error."""
    text = (
        'pgbench: fatal: connection to server on socket "/tmp/x" failed: FATAL:  database "nope" does not exist\n'
        "pgbench: fatal: could not create connection for setup\n"
    )
    error = error_in(text, description)
    assert isinstance(error, ServerError)
    assert str(error) == (
        'pgbench: connection to server on socket "/tmp/x" failed: FATAL:  database "nope" does not exist;'
        " could not create connection for setup"
    )


def test_no_reason(description: Pgbench) -> None:
    """Where pgbench says nothing, what it wrote last is all there is."""
    assert str(error_in("", description)) == "pgbench: it gave no reason"
    assert str(error_in("Segmentation fault\n", description)) == "pgbench: Segmentation fault"
