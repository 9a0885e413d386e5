"""A mix that fails is a failed test, told like any other."""

from __future__ import annotations

from tests.conftest import Suite

MIX = """
import pytest

@pytest.mark.stormdb(iterations=20)
{slo}
class TestMix:
    @pytest.mark.stormdb_operation(weight=1)
    def fails(self, worker):
        {body}

    @pytest.mark.stormdb_operation(weight=1)
    def succeeds(self, worker):
        pass
"""


def test_a_failing_operation_is_shown_with_its_traceback(suite: Suite) -> None:
    """What an operation raises is in the report of the test, with the line that raised it."""
    suite.write(MIX.format(slo="", body="assert worker.id == 'a worker'"))
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*of 20 iterations failed: *AssertionError*", "*assert worker.id == 'a worker'*"])


def test_a_missed_threshold_of_a_mix_fails_its_test(suite: Suite) -> None:
    """The message is the threshold's, without frames of the plugin."""
    suite.write(MIX.format(slo='@pytest.mark.stormdb_slo("throughput > 1000000000/s")', body="pass"))
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["throughput */s is not > 1000000000/s: certain (*)"])


def test_a_connection_that_all_workers_would_share_is_refused_in_a_mix(suite: Suite) -> None:
    """A fixture that holds a connection is as wrong in a mix as it is in a function."""
    mix = MIX.format(slo="", body="pass").replace(
        "def succeeds(self, worker)", "def succeeds(self, worker, connection)"
    )
    suite.write(
        mix
        + """
@pytest.fixture
def connection(stormdb_connection):
    return stormdb_connection
"""
    )
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'connection' holds a connection*"])
