"""All that a script can say runs through us as through pgbench: the same script, alone and driven, does the same."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_stormdb.engine.program import find_pgbench
from pytest_stormdb.engine.report import error_in
from pytest_stormdb.workload.pgbench import described, pgbench

from .harness import drive

SEED = 42
NEWEST = find_pgbench()

SCRIPTS = {
    "arithmetic": r"""
        \set a debug(1 + 2 * 3 - 4 / 2 % 3)
        \set b debug(-7 / 2)
        \set c debug(-7 % 3)
        \set d debug(2.5 * 2)
        \set e debug(int(2.5) + int(3.5))
        \set f debug(double(1) / 3)
        \set g debug(5 | 2 & 3 # 1)
        \set h debug(1 << 4 >> 2)
        \set i debug(~5)
        \set j debug(9223372036854775807)
        \set k debug(1e3 + .5)
    """,
    "functions": r"""
        \set a debug(abs(-5))
        \set b debug(greatest(1, 7, 3))
        \set c debug(least(1.5, 2))
        \set d debug(sqrt(16) + ln(exp(1)))
        \set e debug(power(2, 10))
        \set f debug(mod(7, 4))
        \set g debug(pi())
        \set h debug(hash(10, 5432))
        \set i debug(hash_fnv1a(10, 5432))
        \set j debug(hash_murmur2(10, 5432))
        \set k debug(permute(3, 10, 7))
    """,
    "nulls and truth": r"""
        \set a debug(NULL)
        \set b debug(NULL AND false)
        \set c debug(1 IS NULL OR 1 NOTNULL)
        \set d debug(CASE WHEN NULL THEN 1 WHEN 2 > 1 THEN 2 ELSE 3 END)
        \set e debug(NOT true)
        \set f debug(5 IS NOT TRUE)
        \set g debug(1 + NULL)
        \set h debug(1 = 1.0)
    """,
    "draws": r"""
        \set a debug(random(1, 1000000))
        \set b debug(random_gaussian(1, 1000000, 4.0))
        \set c debug(random_exponential(1, 1000000, 5.0))
        \set d debug(random_zipfian(1, 1000000, 1.1))
        INSERT INTO seen VALUES (:a, :b, :c, :d);
    """,
    "conditions": r"""
        \set x random(1, 4)
        \if :x = 1
            INSERT INTO seen VALUES (1);
        \elif :x = 2
            \if true
                INSERT INTO seen VALUES (2);
            \else
                INSERT INTO seen VALUES (-2);
            \endif
        \else
            INSERT INTO seen VALUES (:x * 10);
        \endif
    """,
    "results": r"""
        SELECT 1 AS a, NULL AS b, 'text' AS c \gset
        SELECT :a + 4 AS e \gset p_
        SELECT 6 AS f \aset q_
        SELECT 7 AS g WHERE false \aset q_
        INSERT INTO seen VALUES (:a, :p_e, :q_f);
    """,
    "results of combined queries": r"""
        SELECT 2 AS d \; SELECT 5 AS e \gset p_
        SELECT 6 AS f \; SELECT 7 AS g \aset q_
        INSERT INTO seen VALUES (:p_e, :q_f, :q_g);
    """,
    "variables": r"""
        \set one 1
        \SET two :one + 1
        INSERT INTO seen VALUES (:two::int, :client_id, :given);
        INSERT INTO seen VALUES (:scale, :random_seed);
    """,
    "variables in quotes": r"""
        \set one 1
        INSERT INTO seen VALUES (length(':one'), length(':nosuch'));
    """,
    "combined and commented": r"""
        -- a comment; with a semicolon
        INSERT INTO seen VALUES (1) \; INSERT INTO seen VALUES (2);
        /* INSERT INTO seen VALUES (-1); */ INSERT INTO seen
          VALUES (3);
        \set long 1 + \
            2
        INSERT INTO seen VALUES (:long + 1); INSERT INTO seen VALUES (length(';'))
    """,
    "pipeline": r"""
        \startpipeline
        BEGIN;
        INSERT INTO seen VALUES (1);
        INSERT INTO seen VALUES (2);
        END;
        \endpipeline
        INSERT INTO seen VALUES (3);
    """,
    "sleeping": r"""
        \set n 2
        \sleep 1ms
        \sleep :n ms
        \sleep 100 us
        INSERT INTO seen VALUES (1);
    """,
}

SIMPLE_ONLY = {"results of combined queries", "variables in quotes", "combined and commented"}
EXTENDED_ONLY = {"pipeline"}
CASES = [
    (name, mode)
    for name in SCRIPTS
    for mode in ("simple", "extended", "prepared")
    if name not in (EXTENDED_ONLY if mode == "simple" else SIMPLE_ONLY)
]

ERRORS = {
    "unknown command": r"\nosuch 1",
    "set without a value": r"\set x",
    "set without anything": r"\set",
    "invalid name": r"\set a-b 1",
    "syntax": r"\set x 1 + + ",
    "unknown function": r"\set x nosuch(1)",
    "too few arguments": r"\set x sqrt()",
    "too many arguments": r"\set x random(1, 2, 3)",
    "else without if": "\\else\nSELECT 1;",
    "endif without if": "\\endif\nSELECT 1;",
    "if without endif": "\\if true\nSELECT 1;",
    "two elses": "\\if true\n\\else\n\\else\n\\endif\nSELECT 1;",
    "sleep without a number": "\\sleep",
    "sleep unit": "\\sleep 1 week",
    "gset without a query": "\\gset",
    "nothing at all": "",
    "division by zero": r"\set x 1 / 0",
    "overflow": r"\set x 9223372036854775807 + 1",
    "double to int": r"\set x int(1e30)",
    "sleeping on text": "\\set n 'x'\n\\sleep :n",
    "and of numbers": r"\set x 1 AND 2",
    "empty range": r"\set x random(2, 1)",
    "gaussian parameter": r"\set x random_gaussian(1, 10, 1.0)",
    "zipfian parameter": r"\set x random_zipfian(1, 10, 1.0)",
    "undefined variable": r"\set x :nosuch + 1",
    "no row for gset": r"SELECT 1 AS a WHERE false \gset",
    "two rows for gset": r"SELECT generate_series(1, 2) AS a \gset",
    "SQL": "SELECT 1;\nSELECT nosuch;",
    "open transaction": "BEGIN;\nSELECT 1;",
    "pipeline left open": "\\startpipeline\nSELECT 1;",
    "pipeline in pipeline": "\\startpipeline\n\\startpipeline\n\\endpipeline",
    "end without pipeline": "\\endpipeline\nSELECT 1;",
    "gset in a pipeline": "\\startpipeline\nSELECT 1 AS a \\gset\n\\endpipeline",
    "writing where it is not allowed": "SET default_transaction_read_only = on;\nCREATE TABLE nosuch ();",
}


@pytest.fixture
def seen(bank_connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """A table for what scripts write down."""
    bank_connection.execute("DROP TABLE IF EXISTS seen")
    bank_connection.execute("CREATE TABLE seen (a bigint, b bigint, c bigint, d bigint, n serial)")
    yield bank_connection
    bank_connection.execute("DROP TABLE seen")


def alone(dsn: str, script: Path, mode: str, iterations: int) -> str:
    """What pgbench says to stderr when it runs a script by itself."""
    command = [str(NEWEST.path), "-n", "-c1", f"-t{iterations}", f"-M{mode}", f"--random-seed={SEED}", "-Dgiven=8"]
    told = subprocess.run([*command, "-f", str(script), dsn], capture_output=True, text=True, check=False)
    return told.stderr


def written(seen: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    rows = seen.execute("SELECT a, b, c, d FROM seen ORDER BY n").fetchall()
    seen.execute("TRUNCATE seen")
    return rows


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_script_does_the_same(name: str, mode: str, bank: str, seen: psycopg.Connection[Any], tmp_path: Path) -> None:
    """With the same seed, the values it computes, draws, reads and writes are those of pgbench by itself."""
    script = tmp_path / "script.sql"
    script.write_text(SCRIPTS[name] + ("" if "INSERT" in SCRIPTS[name] else "SELECT 1;\n"))
    said = re.findall(r"^debug.*$", alone(bank, script, mode, 8), re.MULTILINE)
    rows = written(seen)
    plan = {"workers": 1, "iterations": 8, "seed": SEED}
    driven = drive(bank, script, mode=mode, variables={"given": 8}, plan=plan)
    assert (driven.ending.status, driven.total.count) == (0, 8), driven.ending.errors
    assert re.findall(r"^debug.*$", driven.ending.errors, re.MULTILINE)[:40] == said[:40]
    assert written(seen) == rows
    assert said or rows


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_told_in_pgbenchs_own_words(name: str, bank: str, tmp_path: Path) -> None:
    """The first thing that pgbench complains of is what we say, with the script's file."""
    script = tmp_path / "script.sql"
    script.write_text(ERRORS[name])
    complaint = re.search(r"^pgbench: error: (.*)$", alone(bank, script, "prepared", 1), re.MULTILINE)
    assert complaint is not None
    driven = drive(bank, script, plan={"workers": 1, "iterations": 1})
    assert driven.ending.status in (1, 2)
    description = described(pgbench(script))
    assert description is not None
    error = str(error_in(driven.ending.errors, description))
    assert complaint[1] in error
    assert str(script) in error or "pipeline" in name or "transaction" in name


def test_weights_are_kept(bank: str, seen: psycopg.Connection[Any], tmp_path: Path) -> None:
    """Scripts are drawn by weight, one of weight 0 never, and each counts under its own name."""
    for name in ("often", "seldom", "never"):
        (tmp_path / f"{name}.sql").write_text(f"INSERT INTO seen VALUES ({len(name)});\n")
    scripts = [tmp_path / "often.sql@9", tmp_path / "seldom.sql@1", tmp_path / "never.sql@0"]
    driven = drive(bank, *scripts, plan={"workers": 2, "iterations": 400, "seed": SEED})
    rows = dict(seen.execute("SELECT a, count(*) FROM seen GROUP BY a").fetchall())
    counts = {name: tally.count for name, tally in driven.whole.tallies.items()}
    assert counts == {"often": rows[5], "seldom": rows[6]}
    assert sum(counts.values()) == 800
    assert 670 < counts["often"] < 770
