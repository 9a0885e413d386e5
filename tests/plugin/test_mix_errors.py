"""What goes wrong around a marked class is told as for any test."""

from __future__ import annotations

from tests.conftest import Suite

MIX = """
    import pytest

    @pytest.fixture(scope="module")
    def shop():
        {before}
        yield 7
        {after}

    @pytest.mark.stormdb(iterations=2)
    class TestMix:
        @pytest.mark.stormdb_operation
        def read(self, worker, shop):
            assert shop == 7
"""


def test_a_fixture_that_fails_is_an_error_of_the_mix(suite: Suite) -> None:
    """A set-up that raises is one test error with its text and line, not an internal error of pytest."""
    suite.write(MIX.format(before="raise ValueError('no data')", after="pass"))
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of TestMix*", "E * ValueError: no data", "test_it.py:5: ValueError"])


def test_a_finaliser_that_fails_is_an_error_of_the_mix(suite: Suite) -> None:
    """So is an invariant that breaks after the load."""
    suite.write(MIX.format(before="pass", after="assert 1 == 2, 'books'"))
    result = suite.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of TestMix*", "E * AssertionError: books"])


def test_a_mix_stands_where_its_class_is_written(suite: Suite) -> None:
    """Its place, for reports and editors, is the file and line of the class."""
    suite.write(MIX.format(before="pass", after="pass"))
    suite.write(
        conftest="""
        def pytest_collection_modifyitems(items):
            for item in items:
                print("placed", *item.location)
        """
    )
    result = suite.run("--collect-only", "-s")
    result.stdout.fnmatch_lines(["*placed test_it.py 8 TestMix"])


def test_a_connection_for_all_workers_is_refused_in_a_mix_too(suite: Suite) -> None:
    """Which fixtures a mix asks for is known before the load."""
    suite.write("""
        import pytest

        @pytest.mark.stormdb(iterations=2)
        class TestMix:
            @pytest.mark.stormdb_operation
            def read(self, worker, stormdb_connection):
                stormdb_connection.execute("SELECT 1")
    """)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'stormdb_connection' holds a connection, which the workers cannot share*"])
