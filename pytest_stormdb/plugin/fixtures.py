"""The fixtures of the interface, and the decorator that makes a per-worker one."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest

from .collection import is_workload
from .options import value_of
from .session import SESSION, as_test_failures

if TYPE_CHECKING:
    from ..configuration.parameters import Parameters
    from ..database.isolation import Home
    from ..database.server import Admin
    from ..measurement.plan_tree import Plan
    from ..run.compared import Compared
    from ..run.result import Result
    from .screen import Loading

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


@pytest.fixture(scope="session")
def stormdb_dsn(request: pytest.FixtureRequest) -> str:
    """The target's connection string; override it in a conftest to bring a server of your own."""
    with as_test_failures():
        return request.config.stash[SESSION].target_dsn()


@pytest.fixture(scope="module")
def _stormdb_home(request: pytest.FixtureRequest, stormdb_dsn: str) -> Iterator[Home]:
    """Where the workload lives, which is made before and dropped after."""
    from ..database.connect import parse_dsn
    from ..database.isolation import isolated
    from ..database.names import own_name
    from ..database.target import pinned
    from .settings import admin_dsn_of, isolation_of
    from .workloads import check_server, configuration_for, workload_name

    if not isinstance(stormdb_dsn, str):
        pytest.fail(f"fixture stormdb_dsn: not a connection string but {type(stormdb_dsn).__name__!r}", pytrace=False)
    config = request.config
    session = config.workerinput["workerid"] if hasattr(config, "workerinput") else ""
    session = "against" if config.stash[SESSION].other_arm is not None else session
    with as_test_failures():
        configuration_for(request.node)
        home = isolated(
            config.stash[SESSION].without_password(pinned(parse_dsn(stormdb_dsn, "fixture stormdb_dsn"))),
            own_name(workload_name(request.node), session),
            wanted=isolation_of(request.node),
            admin_dsn=admin_dsn_of(config),
            keep=value_of(config, "keep"),
        )
        with home as found:
            check_server(request.node, found)
            with config.stash[SESSION].living_in(found):
                yield found


@pytest.fixture(scope="module")
def stormdb_connection(request: pytest.FixtureRequest, _stormdb_home: Home) -> Iterator[Admin]:
    """An autocommit connection for set-up and clean-up, in the workload's own database."""
    from ..database.steady import open_steady

    with as_test_failures():
        connection = open_steady(_stormdb_home.dsn, name="stormdb set-up", limit_s=None)
    open_ones = request.config.stash[SESSION].set_up_connections
    open_ones.append(connection)
    with contextlib.closing(connection):
        yield connection
        open_ones.remove(connection)


@pytest.fixture(scope="module")
def stormdb_url(_stormdb_home: Home) -> str:
    """A URL into the workload's own database, for set-up with any client."""
    from ..database.alchemy import teach_sqlalchemy
    from ..database.connect import with_parameters
    from ..database.url import url_of

    teach_sqlalchemy()
    return url_of(with_parameters(_stormdb_home.dsn, application_name=None))


@pytest.fixture(scope="module")
def stormdb_parameters(request: pytest.FixtureRequest) -> Parameters:
    """The workload's raw parameters, a mapping; call it with a pydantic model to get them validated."""
    from .workloads import parameters_for

    with as_test_failures():
        return parameters_for(request.node)


@pytest.fixture
def _stormdb_pgbench(request: pytest.FixtureRequest, _stormdb_home: Home, stormdb_parameters: Parameters) -> Any:
    """The scripts of a workload as they are run: found, with their variables, their tables made."""
    from .scripts import prepared

    with as_test_failures():
        return prepared(request.node, request.function, _stormdb_home, stormdb_parameters)


@pytest.fixture(scope="session")
def stormdb_progress(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[Loading]]:
    """Shows how far data is loaded: ``with stormdb_progress("account", total=n) as loading: loading.advance(1000)``."""
    from .screen import loading

    def progress(title: str, total: int | None = None) -> AbstractContextManager[Loading]:
        return loading(request.config, title, total)

    return progress


@pytest.fixture
def worker(request: pytest.FixtureRequest, _stormdb_home: Home) -> Any:
    """The worker's handle, inside a function marked stormdb or run by the stormdb fixture."""
    from ..workload.contract import WorkerPlaceholder

    if not is_workload(request.node):
        pytest.fail(f"fixture 'worker': {request.node.name} is not marked stormdb; only a workload has workers", False)
    return WorkerPlaceholder()


@pytest.fixture
def batch_size(request: pytest.FixtureRequest) -> int:
    """The batch size of the load plan, for functions that work in batches."""
    from .settings import settings_of

    with as_test_failures():
        return settings_of(request.node).plan.batch_size


@pytest.fixture
def stormdb(request: pytest.FixtureRequest, _stormdb_home: Home) -> Runner:
    """The runner, for tests that want the result in hand."""
    return Runner(request.node, _stormdb_home)


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


def worker_fixture(function: Callable[..., Any]) -> Any:
    """Make a generator function a per-worker resource: set up in every worker, torn down when it ends.

    Its arguments are ``worker``, other worker fixtures, and ordinary fixtures; marked functions ask for it by name.
    """

    @functools.wraps(function)
    def described(**arguments: Any) -> Any:
        from ..workload.resources import WorkerFixture

        return WorkerFixture(function, arguments)

    del described.__wrapped__
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
    described.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, _POSITIONAL) for name in parameters]
    )
    return pytest.fixture(described)
