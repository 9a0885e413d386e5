"""The runner: load tests that a test runs itself, with their results in its hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from .session import as_test_failures

if TYPE_CHECKING:
    from ..database.isolation import Home
    from ..measurement.plan_tree import Plan
    from ..run.compared import Compared
    from ..run.result import Result


class Runner:
    """Runs callables as workloads of the current test."""

    def __init__(self, item: pytest.Item, home: Home) -> None:
        self._item = item
        self._home = home
        self._names: list[str | None] = []

    def run(self, function: Callable[..., Any], *, name: str | None = None, **options: Any) -> Result:
        """Run ``function(worker)`` under the mark's options (``workers=10``, ``duration="5s"``, ...).

        The command line is stronger than these options, as it is than a mark. Figures come back whether the
        iterations succeeded or not; a run in which none did, or that broke off, fails the test. ``name`` tells a run
        from the test's others in all reports; without one, the second is ``run-2``.
        """
        from .execution import run_in_hand

        return run_in_hand(self._item, function, self._home, options, self._named(name))

    def _named(self, name: object) -> str | None:
        """The name of the next run, which no other of this test has."""
        where = f"stormdb.run in {self._item.name}: name"
        if name is None and self._names:
            name = f"run-{len(self._names) + 1}"
        if name is not None and (not isinstance(name, str) or not name.strip()):
            pytest.fail(f"{where}: {name!r} is no name; give a short text", pytrace=False)
        if name in self._names:
            pytest.fail(f"{where}: this test has a run {name!r} already; give each its own", pytrace=False)
        self._names.append(name)
        return name

    def plan(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Plan:
        """The plan of a statement with its parameters (``%s``, or ``$1`` as in ``worker.prepare``), in the workload's
        own place.

        It is executed, and what it writes is rolled back. ``plan.uses(index=...)`` and ``plan.scans(table)`` ask for
        its shape, ``plan.blocks`` and ``plan.rows`` for what it met, ``plan.fingerprint`` for the shape as a whole.
        """
        from ..database.connect import connect
        from ..database.explain import explain

        with as_test_failures(), connect(self._home.dsn, name="stormdb plan") as connection:
            is_raw = isinstance(params, Sequence) and "%s" not in query and re.search(r"\$[1-9]", query) is not None
            return explain(connection, query, params, raw=is_raw)

    def compare(
        self,
        old: Callable[..., Any],
        new: Callable[..., Any] | None = None,
        *,
        metric: str = "p95",
        margin: float | str = 0.10,
        min_improvement: float | None = None,
        budget: str | float = "60s",
        before: Callable[..., Any] | None = None,
        after: Callable[..., Any] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Compared:
        """Compare two callables ``(worker)``, or one in two states of the database, in blocks that take turns.

        ``before`` and ``after`` make the states: each is called with a connection into a database of its own.
        ``margin`` is the slow-down allowed; ``min_improvement=2`` claims instead that the second arm is at least twice
        as fast. ``options`` are the mark's; how long it takes is up to ``budget``. ``seed`` is that of the order.
        """
        from .comparison import compare_in_hand

        where = f"stormdb.compare in {self._item.name}"
        if (before is None) != (after is None) or (new is None) != (before is not None):
            pytest.fail(f"{where}: give two callables, or one with both before= and after=", pytrace=False)
        states = (before, after) if before is not None and after is not None else None
        wanted = {"metric": metric, "margin": margin, "min_improvement": min_improvement}
        wanted |= {"budget": budget, "seed": seed}
        return compare_in_hand(self._item, self._home, (old, old if new is None else new), states, wanted, options)
