"""What pgbench is asked to do once, without load: to make its tables, and to run each script as a plain test."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ..database.handover import Handover, guarded, handed_over
from ..errors import ServerError
from ..workload.pgbench import Pgbench
from .command import initialization, what_to_run
from .program import find_pgbench
from .report import error_in


def make_tables(description: Pgbench, dsn: str) -> None:
    """``pgbench -i``, where the description wants it. Raises ServerError with pgbench's own words."""
    command = initialization(find_pgbench(), description)
    if command is None:
        return
    status, told = _ask(command, handed_over(dsn))
    if status:
        raise ServerError(f"pgbench --initialize: {told.strip()[-500:]}")


def run_each_once(description: Pgbench, dsn: str, timeout_ns: int) -> None:
    """One transaction of each script, in their order. Raises pgbench's complaint with the script's file and line."""
    handover = handed_over(guarded(dsn, timeout_ns))
    start = [
        str(find_pgbench().path),
        "--no-vacuum",
        f"--protocol={description.mode}",
        "--client=1",
        "--transactions=1",
    ]
    with TemporaryDirectory(prefix="stormdb-pgbench-") as copies:
        description = description.copied_to(Path(copies))
        for script in description.scripts:
            alone = replace(description, scripts=(replace(script, weight=1),))
            status, told = _ask([*start, *what_to_run(alone)], handover)
            if status:
                raise error_in(told, alone)


def _ask(command: Sequence[str], handover: Handover) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603
        [*command, handover.conninfo],
        env=handover.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stderr
