"""The errors travel from workers to the parent, so each survives pickling with all it says."""

from __future__ import annotations

import inspect
import pickle

import pytest

from pytest_stormdb import errors
from pytest_stormdb.errors import ServerError, StormDBError

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, StormDBError)]


@pytest.mark.parametrize("kind", ALL)
def test_errors_survive_pickling(kind: type[StormDBError]) -> None:
    """A copy is of the same class, says the same, and carries the same notes."""
    error = kind("it broke: 'x'\nand here is what to do")
    error.add_note("seen in worker 3")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert copy.__notes__ == ["seen in worker 3"]


def test_there_are_as_many_errors_as_there_are_culprits() -> None:
    """One root and one error each for the user, the author, the database and us."""
    assert {kind.__name__ for kind in ALL} >= {
        "StormDBError",
        "PlanError",
        "WorkloadError",
        "ServerError",
        "WorkerLost",
    }


@pytest.mark.parametrize("sqlstate", ["57P01", None])
def test_a_server_error_keeps_its_sqlstate(sqlstate: str | None) -> None:
    """The five-character code comes along."""
    copy = pickle.loads(pickle.dumps(ServerError("gone", sqlstate)))
    assert (str(copy), copy.sqlstate) == ("gone", sqlstate)
