"""Connection strings for other programs."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pytest_stormdb.database.handover import guarded, handed_over


def test_a_password_is_on_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It travels in the environment, where a list of processes does not show it; what PG variables say does not."""
    monkeypatch.setenv("PGAPPNAME", "somebody")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    handover = handed_over("host=h password='a b' options='-cjit=off'")
    assert handover.conninfo == "host=h options=-cjit=off"
    assert handover.environment["PGPASSWORD"] == "a b"
    assert handover.environment["LC_ALL"] == "C"
    assert "PGAPPNAME" not in handover.environment


def test_without_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password of our own environment is not filled in either: the connection string says all."""
    monkeypatch.setenv("PGPASSWORD", "another's")
    assert "PGPASSWORD" not in handed_over("postgresql://u@h/d").environment


def test_sessions_are_guarded(dsn: str) -> None:
    """The server ends what lasts too long, and looks whether its client is still there; options there were stay."""
    with psycopg.connect(guarded(f"{dsn} options='-cjit=off -cwork_mem=5MB'", 1_500_000_000)) as conn:
        for name, value in {
            "statement_timeout": "1500ms",
            "client_connection_check_interval": "1s",
            "jit": "off",
            "work_mem": "5MB",
        }.items():
            assert conn.execute(f"SHOW {name}").fetchone() == (value,)


def test_what_is_refused_is_left_out(dsn: str) -> None:
    """Where nothing can be asked, nothing is set."""
    assert conninfo_to_dict(guarded(f"{dsn} port=1 connect_timeout=2", 10**9)) == conninfo_to_dict(
        f"{dsn} port=1 connect_timeout=2"
    )
