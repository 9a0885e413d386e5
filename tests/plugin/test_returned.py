"""What a workload returns, raises and forgets counts the same under load, in a smoke run and beside xdist."""

from __future__ import annotations

import pytest

from ..conftest import Suite

RETURNS = """
    import asyncio
    import functools
    import time

    import pytest

    from pytest_stormdb import Aborted, OperationResult

    def decorated(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper

    pytestmark = pytest.mark.stormdb(iterations=3, timeout="400ms")

    @decorated
    async def test_coroutine(worker):
        await worker.conn.execute("SELECT no_such_column")

    async def test_forgotten_await(worker):
        worker.conn.execute("SELECT no_such_column")

    def test_forgotten_in_plain(worker):
        asyncio.sleep(1)

    def test_generator(worker):
        return (row for row in worker.conn.execute("SELECT 1"))

    def test_mixed_list(worker):
        return [OperationResult(), "row"]

    def test_unsuccessful(worker):
        return OperationResult(success=False, error="out of stock")

    def test_unsuccessful_in_a_tuple(worker):
        return OperationResult(), OperationResult(success=False, operation="sell", error="none left")

    def test_open_transaction(worker):
        worker.conn.execute("BEGIN")

    def test_hangs(worker):
        worker.conn.execute("SELECT pg_sleep(20)")

    def test_sleeps(worker):
        time.sleep(20)

    async def test_hangs_as_a_task(worker):
        await asyncio.sleep(20)

    def test_aborted(worker):
        worker.conn.execute("BEGIN")
        if worker.iteration == 0:
            raise Aborted("taken back")
        worker.conn.execute("COMMIT")

    def test_rows(worker):
        return worker.conn.execute("SELECT 1").fetchall()
"""
SENTENCES = [
    "*test_coroutine returned a coroutine, which nobody awaits: make it 'async def', and await in it",
    "*test_forgotten_await: the coroutine 'AsyncConnection.execute' was never awaited, and has done nothing; *",
    "*test_forgotten_in_plain: the coroutine 'sleep' was never awaited, and has done nothing; *",
    "*test_generator returned a generator, which nobody runs: *",
    "*test_mixed_list returned OperationResults and 'row' in one list; *",
]


def test_under_load(suite: Suite) -> None:
    """Each is told in a sentence; an expected abort is none of it, and no warning of Python's leaks."""
    suite.write(RETURNS)
    result = suite.run("--stormdb-json=runs.json")
    result.assert_outcomes(failed=11, passed=2)
    result.stdout.fnmatch_lines(SENTENCES)
    result.stdout.fnmatch_lines(
        [
            "3 of 3 iterations failed: 3 x unsuccessful",
            "3 of 6 iterations failed: 3 x unsuccessful",
            "3 of 3 iterations failed: 3 x open transaction",
            *["3 of 3 iterations failed: 3 x timeout"] * 3,
        ]
    )
    result.stdout.fnmatch_lines(["  test_aborted: 1 aborted: taken back"])
    assert "RuntimeWarning" not in result.stdout.str() + result.stderr.str()
    runs = {run["nodeid"].partition("::")[2]: run for run in suite.runs()}
    assert runs["test_coroutine"]["outcome"] == "error"
    aborted = runs["test_aborted"]
    assert aborted["totals"]["aborts"] == 1
    assert (aborted["totals"]["operations"], aborted["totals"]["failures"], aborted["outcome"]) == (2, 0, "passed")
    assert aborted["operations"]["test_aborted"]["aborts"] == [{"reason": "taken back", "count": 1}]


@pytest.mark.parametrize("options", [("--stormdb-smoke",), ("-n1", "-p", "xdist")], ids=["smoke", "xdist"])
def test_unmeasured(suite: Suite, options: tuple[str, ...]) -> None:
    """A single, unmeasured iteration fails for the same reasons, in the same words, within its timeout."""
    suite.write(RETURNS)
    result = suite.run(*options)
    result.assert_outcomes(failed=11, passed=2)
    text = result.stdout
    text.fnmatch_lines_random(SENTENCES)
    text.fnmatch_lines_random(
        [
            "*test_unsuccessful returned success=False: out of stock",
            "*sell returned success=False: none left",
            "*test_open_transaction: the iteration left its transaction open; it was rolled back",
            "*test_hangs: cancelled after 0.4 s: *canceling statement due to user request*",
            "*test_sleeps: cancelled after 0.4 s: interrupted: no session of its name was waiting for the server",
            "*test_hangs_as_a_task: cancelled after 0.4 s: *",
        ]
    )
    assert "RuntimeWarning" not in text.str() + result.stderr.str()


def test_in_hand(suite: Suite) -> None:
    """A lambda's coroutine is an error, an object's asynchronous call is awaited, and aborts are counted by reason."""
    suite.write("""
        import pytest
        from pytest_stormdb import Aborted

        async def select(worker):
            await worker.conn.execute("SELECT no_such_column")

        class Caller:
            async def __call__(self, worker):
                await worker.conn.execute("SELECT no_such_column")

        class Buyer:
            def __call__(self, worker):
                with worker.conn.transaction(), worker.operation("pay"):
                    if worker.iteration % 2:
                        raise Aborted("insufficient funds")

        def test_lambda(stormdb):
            stormdb.run(lambda worker: select(worker), iterations=2)

        def test_object(stormdb):
            result = stormdb.run(Caller(), iterations=2)
            assert result.errors == {"42703": 2}

        def test_aborts(stormdb):
            result = stormdb.run(Buyer(), iterations=4, workers=2)
            assert (result.operations, result.failures) == (4, 0)
            assert result.aborts == result.operation("pay").aborts == {"insufficient funds": 4}
            assert result.operation("pay").operations == 4
            assert result.record["totals"]["aborts"] == 4

        def test_nothing_but_aborts(stormdb):
            def never(worker):
                raise Aborted
            result = stormdb.run(never, iterations=3)
            assert result.aborts == {"aborted": 3}
    """)
    result = suite.run("--junitxml=j.xml")
    result.assert_outcomes(failed=3, passed=1)
    result.stdout.fnmatch_lines_random(
        [
            "*<lambda> returned a coroutine, which nobody awaits: *",
            "*stormdb.run: no iteration succeeded (2 failed)*",
            "*stormdb.run: no iteration succeeded (0 failed, 3 aborted)*",
        ]
    )
    assert '<property name="stormdb.aborts" value="4"' in (suite.path / "j.xml").read_text()
