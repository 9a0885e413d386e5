"""Fixtures that hold what workers cannot share: connections, pools of asyncio, sessions in a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_CONNECTION = "holds a connection, which the workers cannot share; use worker.conn, or make it a {own}"
_POOL = "holds a pool whose connections the workers cannot share; open one from worker.dsn in a {own}"
_ASYNC_POOL = "holds a pool that belongs to another event loop; open one from worker.dsn in a {own}"
_ALCHEMY = "holds a connection of SQLAlchemy, which the workers cannot share; hand over the engine, or make it a {own}"
_SESSION = "holds a session that is in a transaction; commit or close it before the load, or make it a {own}"
_OWN = "pytest_stormdb.worker_fixture"

_KINDS: Mapping[str, Mapping[str, str]] = {
    "psycopg": dict.fromkeys(("Connection", "AsyncConnection", "Cursor", "AsyncCursor"), _CONNECTION),
    "psycopg_pool": dict.fromkeys(("AsyncConnectionPool", "AsyncNullConnectionPool"), _ASYNC_POOL),
    "psycopg2": {"connection": _CONNECTION, "cursor": _CONNECTION, "AbstractConnectionPool": _POOL},
    "asyncpg": {"Connection": _CONNECTION, "PoolConnectionProxy": _CONNECTION, "Pool": _ASYNC_POOL},
    "pg8000": dict.fromkeys(("Connection", "CoreConnection", "Cursor"), _CONNECTION),
    "sqlalchemy": {"Connection": _ALCHEMY, "AsyncConnection": _ALCHEMY},
}
"""By library and class, what such a value holds, and the way out. Engines, psycopg's pools and Django's connections are
made anew in each worker; SQLAlchemy's sessions, while they are in no transaction, hold none."""


def shared_connection(arguments: Mapping[str, object]) -> str | None:
    """The complaint about a fixture that holds a connection, which all workers would share; None where none does.

    A fixture of each worker is asked for its arguments, a container for what is in it.
    """
    for name, value in arguments.items():
        for each in _values_in(value):
            held = _held(each)
            if held is not None:
                return f"fixture {name!r} {held.format(own=_OWN)}"
    return None


def _values_in(value: object) -> Iterator[object]:
    yield value
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set):
        yield from value
    elif type(value).__name__ == "WorkerFixture":
        for argument in value.arguments.values():  # type: ignore[attr-defined]
            yield from _values_in(argument)


def _held(value: object) -> str | None:
    for kind in type(value).__mro__:
        library = str(kind.__module__).partition(".")[0]
        found = _KINDS.get(library, {}).get(kind.__name__)
        if found is not None:
            return found
        if library == "sqlalchemy" and kind.__name__ in ("Session", "AsyncSession", "scoped_session"):
            return _held_by_session(value)
    return None


def _held_by_session(session: object) -> str | None:
    """A session holds a connection while it is in a transaction, or when it is bound to one."""
    registry = getattr(session, "registry", None)
    if registry is not None:  # a scoped session: asking for this thread's must not make one
        if not registry.has():
            return None
        session = registry()
    if session.in_transaction():  # type: ignore[attr-defined]
        return _SESSION
    bind = getattr(session, "bind", None)
    return None if bind is None else _held(bind)
