"""What a forked worker inherits and must not share: connections to the server, pools of them, and random states.

A socket that two processes use mixes their answers: rows of one worker come back to another, and nothing fails. So in
each child, every inherited socket to a PostgreSQL server is replaced by a dead one before any code of the workload
runs. The parent's end is untouched, since replacing a descriptor sends nothing. What knows how to connect anew
(SQLAlchemy's engines, Django's connections, psycopg's pools) is told to; whoever uses a dead one all the same gets an
error at once, and the run fails by the name of the address.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import random
import socket
import stat
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import WorkloadError

_FDS = Path("/dev/fd")
_POOLS = {"ConnectionPool", "NullConnectionPool"}
_TERMINATE = b"X\x00\x00\x00\x04"
"""What a driver says as it hangs up. A connection that is only closed has not been used."""


@dataclass(slots=True)
class Inherited:
    """What there is before the fork: sockets to PostgreSQL servers by descriptor, and the objects that hold some.

    What else holds a connection is left to itself: it finds a dead one.
    """

    peers: Mapping[int, str] = field(default_factory=dict)
    engines: list[Any] = field(default_factory=list)
    pools: list[Any] = field(default_factory=list)
    witnesses: dict[str, socket.socket] = field(default_factory=dict)

    def disconnect(self) -> None:
        """In a child: put dead sockets in the place of the inherited ones, and let pools connect anew when asked."""
        for fd, peer in self.peers.items():
            ours, theirs = socket.socketpair()
            ours.shutdown(socket.SHUT_WR)  # whoever reads gets the end of the stream, and does not wait for an answer
            ours.setblocking(False)
            os.dup2(theirs.fileno(), fd, inheritable=False)
            theirs.close()
            self.witnesses[f"{peer} (descriptor {fd})"] = ours
        for engine in self.engines:
            engine.dispose(close=False)
        for pool in self.pools:
            _open_anew(pool)
        _forget_django_connections()
        for witness in self.witnesses.values():
            _received(witness)

    def check_unused(self) -> None:
        """At a worker's end. Raises WorkloadError where one of the inherited connections was used after all."""
        used = [peer for peer, witness in self.witnesses.items() if _received(witness).replace(_TERMINATE, b"")]
        if used:
            raise WorkloadError(
                f"a connection to {used[0]} that was opened before the workers were forked was used in a worker;"
                " open it in each worker: from worker.dsn, or in a pytest_stormdb.worker_fixture"
            )


def look_for_inherited(ports: Collection[int]) -> Inherited:
    """In the parent, before the fork; ``ports`` are those that servers listen on.

    Where a library with pools is loaded, it costs some ms for each 100,000 objects there are.
    """
    found = Inherited(dict(_server_sockets(ports)))
    if not any(name in sys.modules for name in ("sqlalchemy", "psycopg_pool")):
        return found
    for thing in gc.get_objects():
        kind = type(thing)
        library = str(kind.__module__).partition(".")[0]
        if library == "sqlalchemy" and kind.__name__ == "Engine":
            found.engines.append(thing)
        elif library == "psycopg_pool" and kind.__name__ in _POOLS:
            found.pools.append(thing)
    return found


def _server_sockets(ports: Collection[int]) -> Iterator[tuple[int, str]]:
    """The descriptors of stream sockets that lead to a PostgreSQL server, and where each leads."""
    for path in list(_FDS.iterdir()) if _FDS.is_dir() else ():
        with contextlib.suppress(OSError, ValueError):
            fd = int(path.name)
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as twin:
                peer = _peer(twin, ports) if twin.type == socket.SOCK_STREAM else None
            if peer is not None:
                yield fd, peer


def _peer(connection: socket.socket, ports: Collection[int]) -> str | None:
    address = connection.getpeername()
    if isinstance(address, str):
        return address if "/.s.PGSQL." in address else None
    if isinstance(address, tuple) and address[1] in ports:
        return f"{address[0]}:{address[1]}"
    return None


def _received(witness: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(OSError):
        while part := witness.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def _open_anew(pool: Any) -> None:
    """Make a pool of psycopg_pool again in its place, with its own settings: its threads did not come along."""
    was_open = not pool.closed
    # the underscore first: ``check`` is a method, and ``_check`` the function that was given
    settings = {
        name: getattr(pool, f"_{name}", getattr(pool, name, parameter.default))
        for name, parameter in inspect.signature(type(pool)).parameters.items()
    }
    anew = type(pool)(**settings | {"open": False})
    _KEPT.append(dict(vars(pool)))
    vars(pool).clear()
    vars(pool).update(vars(anew))
    if was_open:
        pool.open()


_KEPT: list[object] = []
"""What must not be collected in a child: its destructor would speak on sockets that are not the child's."""


def _forget_django_connections() -> None:
    database = sys.modules.get("django.db")
    if database is None:
        return
    with contextlib.suppress(Exception):  # no settings: nothing is connected
        for wrapper in database.connections.all(initialized_only=True):
            _KEPT.append(wrapper.connection)
            wrapper.connection = None


def seed_global_randoms(seed: int, worker: int, values: Iterable[object] = ()) -> None:
    """Let every source of chance that a worker inherits go its own way, and the same way in the next run.

    Python's ``random``, NumPy, Faker and factory_boy where they are loaded, and the generators among ``values``.
    """
    draws = random.Random(f"{seed}:{worker}:inherited")
    random.seed(draws.getrandbits(64))
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(draws.getrandbits(32))
    if faker := sys.modules.get("faker"):
        faker.Faker.seed(draws.getrandbits(64))
    if factory := sys.modules.get("factory.random"):
        factory.reseed_random(draws.getrandbits(64))
    for value in values:
        _seed(value, draws)


def _seed(value: object, draws: random.Random) -> None:
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        value.seed(draws.getrandbits(64))
    elif type(value).__module__.startswith("numpy.random") and hasattr(value, "bit_generator"):
        generator = value.bit_generator
        generator.state = type(generator)(draws.getrandbits(64)).state
    elif type(value).__module__.startswith("faker") and hasattr(value, "seed_instance"):
        value.seed_instance(draws.getrandbits(64))
