"""What a call came to: its code through every wrapper, its results, and what is no outcome at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from pytest_stormdb import Aborted, OperationResult
from pytest_stormdb.errors import WorkloadError
from pytest_stormdb.workload.outcome import abort_in, failure_in, failure_of, results_of, rows_of, sqlstate_of

FAIL = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$"


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class DriverError(Exception):
    sqlstate = "40P01"


def raised_from(error: Exception, cause: BaseException) -> BaseException:
    try:
        raise error from cause
    except Exception as found:
        return found


def test_failures_have_a_code_and_an_example() -> None:
    """SQLSTATE if there is one, else the exception's type; the text, or the type again, cut to a length."""
    assert (failure_of(DriverError("deadlock")).code, failure_of(DriverError("deadlock")).example) == (
        "40P01",
        "deadlock",
    )
    assert (failure_of(KeyError()).code, failure_of(KeyError()).example) == ("KeyError", "KeyError")
    assert len(failure_of(ValueError("x" * 10_000)).example) == 500
    assert failure_of(ValueError("\x1b[31mred\ud800")).example == "\\x1b[31mred\\ud800"
    assert failure_of(UnspeakableError()).example == "UnspeakableError"


def test_the_code_is_found_within_wrappers() -> None:
    """In what an exception was raised from, in SQLAlchemy's ``orig``, in a group, and several deep."""

    class WrappedError(Exception):
        orig = DriverError()

    assert sqlstate_of(raised_from(RuntimeError("repository"), DriverError())) == "40P01"
    assert sqlstate_of(WrappedError()) == "40P01"
    assert sqlstate_of(raised_from(RuntimeError("service"), WrappedError())) == "40P01"
    assert sqlstate_of(ExceptionGroup("two", [DriverError(), KeyError()])) == "40P01"
    circle = RuntimeError()
    circle.__cause__ = circle
    assert sqlstate_of(circle) is None


def test_what_only_looks_like_a_code() -> None:
    """An attribute of that name that holds anything but five digits and capitals is none."""

    class OddError(Exception):
        sqlstate = 40001
        pgcode = "serialization"

    assert sqlstate_of(OddError({"C": "short"})) is None
    assert failure_of(OddError()).code == "OddError"


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg", "pg8000", "sqlalchemy"])
def test_the_code_of_every_driver(dsn: str, driver: str) -> None:
    """Each driver's own exception gives the server's code."""
    pytest.importorskip(driver)
    with pytest.raises(Exception, match="no") as caught:
        RUN[driver](dsn)
    assert sqlstate_of(caught.value) == "40001"


def run_psycopg(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(FAIL)


def run_psycopg2(dsn: str) -> None:
    import psycopg2  # type: ignore[import-untyped,unused-ignore]

    connection = psycopg2.connect(dsn)
    try:
        connection.cursor().execute(FAIL)
    finally:
        connection.close()


def run_asyncpg(dsn: str) -> None:
    import asyncpg  # type: ignore[import-untyped,unused-ignore]

    async def main() -> None:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
        connection = await asyncpg.connect(host=parts["host"], user=parts.get("user"), database=parts.get("dbname"))
        try:
            await connection.execute(FAIL)
        finally:
            await connection.close()

    asyncio.run(main())


def run_pg8000(dsn: str) -> None:
    import pg8000.dbapi  # type: ignore[import-untyped,unused-ignore]

    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    socket = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
    connection = pg8000.dbapi.connect(user=parts.get("user"), unix_sock=socket, database=parts.get("dbname"))
    try:
        connection.cursor().execute(FAIL)
    finally:
        connection.close()


def run_sqlalchemy(dsn: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    try:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(FAIL))
    finally:
        engine.dispose()


RUN = {
    "psycopg": run_psycopg,
    "psycopg2": run_psycopg2,
    "asyncpg": run_asyncpg,
    "pg8000": run_pg8000,
    "sqlalchemy": run_sqlalchemy,
}


def test_an_abort_has_a_reason() -> None:
    """Alone, in a group of nothing else, and without words; any other exception is none."""
    assert abort_in(Aborted("no stock")) == "no stock"
    assert abort_in(Aborted()) == "aborted"
    assert abort_in(ExceptionGroup("tasks", [Aborted("no stock"), Aborted("again")])) == "no stock"
    assert abort_in(ExceptionGroup("tasks", [Aborted("no stock"), KeyError()])) is None
    assert abort_in(KeyError()) is None


def test_results_alone_in_lists_and_in_tuples() -> None:
    """Each counts; any other value, and an empty list, is a plain success."""
    one, two = OperationResult(), OperationResult(success=False)
    assert list(results_of(one, "op")) == [one]
    assert list(results_of([one, two], "op")) == list(results_of((one, two), "op")) == [one, two]
    for value in ([], (), [(1, "row")], 7, "text", {"a": 1}, [None]):
        assert list(results_of(value, "op")) == []


def test_a_list_with_something_else_in_it() -> None:
    """The error names the operation and what does not belong there."""
    with pytest.raises(WorkloadError, match=r"^op returned OperationResults and None in one list; return one"):
        results_of([OperationResult(), None], "op")


async def coroutine() -> None:
    raise AssertionError("ran")


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("make", "what"),
    [(coroutine, "a coroutine"), (generator, "a generator"), (async_generator, "a generator")],
)
@pytest.mark.filterwarnings("error")
def test_what_nobody_runs(make: Any, what: str) -> None:
    """It is an error, alone and in a list, and no warning of Python's comes on top."""
    for value in (make(), [make(), make()], (make(),)):
        with pytest.raises(WorkloadError, match=rf"^op returned {what}, which nobody (awaits|runs)"):
            results_of(value, "op")
        del value


def test_tasks_and_futures() -> None:
    """One that runs on beside the iteration is an error, and is cancelled; one that is done is a value."""

    async def main() -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        with pytest.raises(WorkloadError, match=r"^op returned an awaitable Task, which nobody awaits"):
            results_of(task, "op")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(results_of(task, "op")) == []

    asyncio.run(main())


def test_the_fields_of_a_result() -> None:
    """Rows are whole numbers of any library, errors any object; nonsense is an error that names the field."""
    assert rows_of(OperationResult(rows_affected=Decimal(7))) == 7  # type: ignore[arg-type]
    assert rows_of(OperationResult()) == 0
    for rows, text in ((float("nan"), "nan is no number of rows"), ("many", "'many' .str. is not a number")):
        with pytest.raises(WorkloadError, match=text):
            rows_of(OperationResult(rows_affected=rows))  # type: ignore[arg-type]
    failure = failure_in(OperationResult(success=False, error=ValueError("not found")))  # type: ignore[arg-type]
    assert failure is not None
    assert (failure.code, failure.example) == ("unsuccessful", "not found")
    nothing = failure_in(OperationResult(success=False))
    assert nothing is not None
    assert nothing.example == "success=False"
    assert failure_in(OperationResult()) is None
