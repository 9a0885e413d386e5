"""Where the commands of a script begin: told by us, and by pgbench when one of them fails."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.engine.program import find_pgbench
from pytest_stormdb.workload.script import command_lines, shell_line


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("-- nothing\n/* but /* nested */ comments; */\n", []),
        ("SELECT 1;", [1]),
        ("SELECT 1", [1]),
        ("\n\nSELECT\n1;\nSELECT 2;", [3, 5]),
        ("SELECT 1; SELECT 2;\nSELECT 3;", [1, 1, 2]),
        ("SELECT 1\\; SELECT 2;\nSELECT 3;", [1, 2]),
        ("SELECT ';', \";\", $$;$$, $a$;$$;$a$, E'\\';'; SELECT 2;", [1, 1]),
        ("SELECT (1; 2);\nSELECT 3;", [1, 2]),
        ("\\set a 1\nSELECT :a;\n\\if :a\nSELECT 2;\n\\endif\n", [1, 2, 3, 4, 5]),
        ("\\set a \\\n 1\nSELECT :a;", [1, 3]),
        ("SELECT 1 AS a \\gset\nSELECT 2 AS b\n\\aset p_\nSELECT 3;", [1, 2, 4]),
        ("SELECT 1 -- no semicolon\n\\sleep 1 ms\nSELECT 2;", [1, 2, 3]),
        (";;\nSELECT 1;", [2]),
        ("SELECT 'never closed;\nSELECT 2;", [1, 2]),
        ("SELECT 1; /* never closed ;", [1]),
    ],
)
def test_lines_of_commands(text: str, lines: list[int]) -> None:
    """Quotes, comments, parentheses and combined queries hold semicolons that end nothing."""
    assert command_lines(text) == lines


@given(st.text(alphabet="aE'\"$;\\-*/()\n :1"))
def test_any_text_is_read_to_its_end(text: str) -> None:
    """Lines ascend and lie within the text, whatever it is."""
    lines = command_lines(text)
    assert lines == sorted(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("SELECT 1;\n\\shell true\n", 2),
        ("\\SetShell a echo 1\n", 1),
        ("SELECT '\n\\shell true\n';", None),
        ("-- \\shell true\n\\set shell 1\nSELECT :shell;", None),
        ("SELECT 1 \\shell true", 1),
    ],
)
def test_shell_commands_are_found(text: str, line: int | None) -> None:
    """A command that starts a shell is seen; a text or a comment that looks like one is not."""
    assert shell_line(text) == line


FAILING = {
    "after a comment": (3, "-- one; two\nSELECT 1;\n/* ; */ SELECT\n  1 / 0;\n"),
    "in a condition": (4, "\\set a 1\n\\if :a = 1\n  SELECT 'a;b' AS \"a;b\";\n  SELECT 1 / 0;\n\\endif\n"),
    "of a combined query": (1, "SELECT 1; SELECT 2\\;\nSELECT 1 / 0;\nSELECT 4;\n"),
    "behind gset": (6, "SELECT 1 AS a \\gset\nSELECT :a AS b \\;\nSELECT 2 AS c\n\\aset\n\n\\set d 1 / (:a - 1)\n"),
    "behind dollars": (4, "SELECT $a$ ; $b$ ; $a$;\n\\set x 1\n\nSELECT E'\\';' || 1 / 0;\n"),
    "without semicolon": (3, "SELECT 1\n\\set a 1\nSELECT 1 / 0"),
}
"""The line on which the failing command begins, and the script."""


@pytest.mark.parametrize("name", FAILING)
def test_pgbench_numbers_commands_as_we_do(name: str, server: EmbeddedServer, tmp_path: Path) -> None:
    """The number that pgbench gives in an error leads to the line on which the failing command begins."""
    line, text = FAILING[name]
    script = tmp_path / "failing.sql"
    script.write_text(text)
    command = [str(find_pgbench().path), "-n", "-t1", "-f", str(script), server.dsn]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    number = re.search(r"in command (\d+)", told)
    assert number is not None, told
    assert command_lines(text)[int(number[1])] == line
