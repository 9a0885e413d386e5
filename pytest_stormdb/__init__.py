"""Load tests for PostgreSQL as plain pytest.

PYTEST_DONT_REWRITE: there is no assertion here, and ``plugin/early.pth`` imports this before pytest could.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which is not imported for that
if TYPE_CHECKING:
    from typing import Any

    from .measurement.sample import Aborted, OperationResult
    from .plugin.fixtures import worker_fixture
    from .plugin.runner import Runner
    from .run.result import Result
    from .workload.contract import Worker
    from .workload.pgbench import pgbench

__version__ = "0.1.0"
__all__ = ["Aborted", "OperationResult", "Result", "Runner", "Worker", "pgbench", "worker_fixture"]

_HOMES = {
    "Aborted": "measurement.sample",
    "OperationResult": "measurement.sample",
    "Result": "run.result",
    "Runner": "plugin.runner",
    "Worker": "workload.contract",
    "pgbench": "workload.pgbench",
    "worker_fixture": "plugin.fixtures",
}


def __getattr__(name: str) -> Any:
    """Import the rest when it is asked for: a suite without a workload should not pay for one."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
