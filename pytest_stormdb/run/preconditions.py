"""What must hold on the server before any worker starts."""

from __future__ import annotations

from collections.abc import Sequence

from ..database.health import HealthCheck, HealthResult, run_checks
from ..database.server import Admin, check_free_slots
from ..errors import ServerError
from ..load.plan import LoadPlan


def preflight(admin: Admin, plan: LoadPlan, *, pooled: bool = False) -> None:
    """What must hold on the server before any worker starts. Raises ServerError.

    Behind a pooler a worker's connection is none of the server's, whose slots say nothing then.
    """
    if plan.connect and not pooled:
        check_free_slots(admin, plan.workers)


def checked_before(checks: Sequence[HealthCheck], dsn: str) -> list[HealthResult]:
    """The health checks before a run. Raises ServerError naming those that fail."""
    results = run_checks(checks, dsn, "before")
    failed = [f"health check {result.check}: {result.detail}" for result in results if result.is_failure]
    if failed:
        raise ServerError("\n".join(failed))
    return results
