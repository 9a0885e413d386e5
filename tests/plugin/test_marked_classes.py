"""A marked class is a mix, or says in a sentence why it is none; nothing of it is ignored."""

from __future__ import annotations

from ..conftest import Suite

HEAD = """
import unittest
import pytest

operation = pytest.mark.stormdb_operation(weight=1)
one = pytest.mark.stormdb(workers=1, iterations=1)
"""

AT_COLLECTION = {
    "TestForgot is marked stormdb but has no operations; mark its methods stormdb_operation": """
@one
class TestForgot:
    def read(self, worker):
        pass
""",
    "TestStatic.read is static; an operation is a plain method: def read(self, worker)": """
@one
class TestStatic:
    @staticmethod
    @operation
    def read(worker):
        pass
""",
    "TestOutside.read is static; an operation is a plain method: def read(self, worker)": """
@one
class TestOutside:
    @operation
    @staticmethod
    def read(worker):
        pass
""",
    "TestOld.test_with: a unittest.TestCase cannot be a workload; write a function, or a plain class": """
class TestOld(unittest.TestCase):
    @one
    def test_with(self, worker):
        pass
""",
    "TestOldMix: a unittest.TestCase cannot be a workload; write a function, or a plain class": """
@one
class TestOldMix(unittest.TestCase):
    @operation
    def test_with(self, worker):
        pass
""",
}
AT_SET_UP = {
    "TestIt.setup_method is not called: each worker makes an object of its own of the class; *": """
    def setup_method(self):
        pass
""",
    "TestIt.setup_class is not called: each worker makes an object of its own of the class; *": """
    @classmethod
    def setup_class(cls):
        pass
""",
    "TestIt.rows: a marked class has no fixtures of its own; move it out of the class": """
    @pytest.fixture
    def rows(self):
        return 3
""",
    "TestIt.never: mark 'skip' has no effect on an operation, which is no test of its own; *": """
    @pytest.mark.skip(reason="not here")
    @operation
    def never(self, worker):
        pass
""",
    "TestIt.never: mark 'parametrize' has no effect on an operation, which is no test of its own; *": """
    @pytest.mark.parametrize("x", [1])
    @operation
    def never(self, worker):
        pass
""",
    "TestIt.rows: an operation must not yield; it is called once for each iteration": """
    @operation
    def rows(self, worker):
        yield
""",
    "TestIt: fixture 'caplog' sees nothing of what workers do; *": """
    @operation
    def logs(self, worker, caplog):
        pass
""",
}


def test_what_is_no_mix_is_an_error_of_the_collection(suite: Suite) -> None:
    """A class without operations, with static ones, and a TestCase; what stands beside them in other files runs."""
    for index, source in enumerate(AT_COLLECTION.values()):
        (suite.path / f"test_{index}.py").write_text(HEAD + source)
    (suite.path / "test_good.py").write_text(HEAD + "class TestGood:\n    @one\n    def test_it(self, worker): pass\n")
    result = suite.run("--continue-on-collection-errors")
    result.assert_outcomes(errors=len(AT_COLLECTION), passed=1)
    result.stdout.fnmatch_lines_random([f"*{sentence}" for sentence in AT_COLLECTION])


def test_what_a_mix_cannot_honour_is_an_error_of_its_set_up(suite: Suite) -> None:
    """Set-up methods, fixtures and marks of pytest's within the class, each with the way out."""
    for index, source in enumerate(AT_SET_UP.values()):
        head = f"{HEAD}@one\nclass TestIt:\n    @operation\n    def read(self, worker):\n        pass\n"
        (suite.path / f"test_{index}.py").write_text(head + source)
    result = suite.run()
    result.assert_outcomes(errors=len(AT_SET_UP))
    result.stdout.fnmatch_lines_random([f"*{sentence}" for sentence in AT_SET_UP])


def test_a_base_of_mixes_is_none(suite: Suite) -> None:
    """A marked class whose operations are in the classes made of it is left alone, and those run."""
    suite.write(
        HEAD
        + """
@one
class Base:
    name = "base"

class TestIt(Base):
    @operation
    def read(self, worker):
        assert self.name == "base"
"""
    )
    suite.run().assert_outcomes(passed=1)


def test_a_worker_fixture_of_the_projects_own(suite: Suite) -> None:
    """It hides ours, and the test says so."""
    suite.write("""
        import pytest

        @pytest.fixture
        def worker():
            return "the project's own"

        @pytest.mark.stormdb(iterations=1)
        def test_it(worker):
            pass
    """)
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*a fixture of yours called 'worker' hides pytest-stormdb's; give yours another name"])
