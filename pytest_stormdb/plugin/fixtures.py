"""The fixtures of the interface, and the decorator that makes a per-worker one."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest

from .marks import is_workload
from .options import value_of

if TYPE_CHECKING:
    from ..configuration.parameters import Parameters
    from ..database.isolation import Home
    from ..database.server import Admin
    from .runner import Runner
    from .screen import Loading
    from .session import Session

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _session(request: pytest.FixtureRequest) -> Session:
    """The session's state, in which our hooks take part from now on."""
    from .running import session_of

    return session_of(request.config)


def _as_test_failures() -> AbstractContextManager[None]:
    from .session import as_test_failures

    return as_test_failures()


@pytest.fixture(scope="session")
def stormdb_dsn(request: pytest.FixtureRequest) -> str:
    """The target's connection string; override it in a conftest to bring a server of your own."""
    with _as_test_failures():
        return _session(request).target_dsn()


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
    session = "against" if _session(request).other_arm is not None else session
    with _as_test_failures():
        configuration_for(request.node)
        home = isolated(
            _session(request).without_password(pinned(parse_dsn(stormdb_dsn, "fixture stormdb_dsn"))),
            own_name(workload_name(request.node), session),
            wanted=isolation_of(request.node),
            admin_dsn=admin_dsn_of(config),
            keep=value_of(config, "keep"),
        )
        with home as found:
            check_server(request.node, found)
            with _session(request).living_in(found):
                yield found


@pytest.fixture(scope="module")
def stormdb_connection(request: pytest.FixtureRequest, _stormdb_home: Home) -> Iterator[Admin]:
    """An autocommit connection for set-up and clean-up, in the workload's own database."""
    from ..database.steady import open_steady

    with _as_test_failures():
        connection = open_steady(_stormdb_home.dsn, name="stormdb set-up", limit_s=None)
    open_ones = _session(request).set_up_connections
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

    _session(request)
    with _as_test_failures():
        return parameters_for(request.node)


@pytest.fixture
def _stormdb_pgbench(request: pytest.FixtureRequest, _stormdb_home: Home, stormdb_parameters: Parameters) -> Any:
    """The scripts of a workload as they are run: found, with their variables, their tables made."""
    from .scripts import prepared

    with _as_test_failures():
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

    _session(request)
    with _as_test_failures():
        return settings_of(request.node).plan.batch_size


@pytest.fixture
def stormdb(request: pytest.FixtureRequest, _stormdb_home: Home) -> Runner:
    """The runner, for tests that want the result in hand."""
    from .runner import Runner

    return Runner(request.node, _stormdb_home)


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
