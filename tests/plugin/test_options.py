"""Where options come from, and which source wins."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_stormdb.embedded.server import EmbeddedServer

from ..conftest import Suite

typed = pytest.mark.skipif(pytest.version_tuple < (9,), reason="the table tool.pytest is read from pytest 9 on")
MARKED = """
    import pytest

    @pytest.mark.stormdb({options})
    def test_it(worker):
        pass
"""


def plan_of(suite: Suite, *options: str) -> dict[str, Any]:
    """The plan that a run of ``test_it.py`` had."""
    suite.run("--stormdb-json=runs.json", *options).assert_outcomes(passed=1)
    (run,) = suite.runs()
    plan: dict[str, Any] = run["plan"]
    return plan


def test_command_line_over_mark_over_ini_over_default(suite: Suite) -> None:
    """Each option is taken from the strongest source that gives it."""
    suite.write(MARKED.format(options="workers=2, iterations=3, seed=5"))
    suite.ini("""
        [pytest]
        stormdb_workers = 3
        stormdb_seed = 6
        stormdb_warmup = 20ms
    """)
    plan = plan_of(suite, "--stormdb-workers=1")
    assert (plan["workers"], plan["iterations"], plan["seed"], plan["warmup_s"]) == (1, 3, 5, 0.02)
    assert (plan["timeout_s"], plan["duration_s"], plan["processes"]) == (30.0, None, 1)


def test_a_duration_on_the_command_line_displaces_iterations(suite: Suite) -> None:
    """What ends a run is one thing, and the command line's word counts."""
    suite.write(MARKED.format(options="iterations=10**9"))
    plan = plan_of(suite, "--stormdb-duration=50ms")
    assert (plan["iterations"], plan["duration_s"]) == (None, 0.05)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\nstormdb_workers = 2\nstormdb_iterations = 4\nstormdb_slo =\n    p50 < 1h\n"),
        (
            "pyproject.toml",
            '[tool.pytest.ini_options]\nstormdb_workers = "2"\nstormdb_iterations = 4\nstormdb_slo = ["p50 < 1h"]\n',
        ),
        pytest.param(
            "pyproject.toml",
            '[tool.pytest]\nstormdb_workers = 2\nstormdb_iterations = 4\nstormdb_slo = ["p50 < 1h"]\nstrict = true\n',
            marks=typed,
        ),
    ],
)
def test_ini_keys_in_every_kind_of_file(suite: Suite, name: str, text: str) -> None:
    """An ini file, the lenient table and the strictly typed one all say the same."""
    suite.ini(text, name)
    suite.write(MARKED.format(options=""))
    plan = plan_of(suite)
    assert (plan["workers"], plan["iterations"]) == (2, 4)
    assert [threshold["expression"] for threshold in suite.runs()[0]["thresholds"]] == ["p50 < 1h"]


@typed
def test_the_typed_table_refuses_the_wrong_type(suite: Suite) -> None:
    """Text where a number belongs is one clear error that names the key."""
    suite.ini('[tool.pytest]\nstormdb_workers = "2"\n', "pyproject.toml")
    suite.write(MARKED.format(options="iterations=1"))
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*stormdb_workers*"])
    result.stderr.no_fnmatch_line("*pytest_stormdb/*")


def test_a_bad_ini_value_is_refused_before_collection(suite: Suite) -> None:
    """A value that makes no sense is a usage error with the source and the value, whatever is collected."""
    suite.ini("[pytest]\nstormdb_duration = soon\n")
    suite.write(MARKED.format(options=""))
    result = suite.run("--collect-only")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: ini file: duration: 'soon' is not a duration; write it as '500ms', *"])


@pytest.mark.slow
def test_targets_in_their_order(suite: Suite, server: EmbeddedServer) -> None:
    """``--stormdb-dsn`` wins over STORMDB_DSN, which wins over DATABASE_URL."""
    suite.write(MARKED.format(options="iterations=1"))
    nowhere = "host=/nowhere dbname=postgres"
    suite.env.setenv("DATABASE_URL", nowhere)
    suite.run().assert_outcomes(passed=1)
    suite.env.setenv("STORMDB_DSN", nowhere)
    suite.run(f"--stormdb-dsn={server.dsn}").assert_outcomes(passed=1)
    suite.env.delenv("STORMDB_DSN")
    suite.env.setenv("DATABASE_URL", f"postgresql://postgres@/postgres?host={server.directory}&port=5432")
    suite.run().assert_outcomes(passed=1)


def test_a_remote_database_url_is_refused(suite: Suite) -> None:
    """DATABASE_URL alone never sends load to another machine; the sentence says how to mean it."""
    suite.write(MARKED.format(options="iterations=1"))
    suite.env.delenv("STORMDB_DSN")
    suite.env.setenv("DATABASE_URL", "postgresql://app:geheim@db.example.com/app")
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*DATABASE_URL leads to another machine*--stormdb-dsn or STORMDB_DSN if you mean it"])
    result.stdout.no_fnmatch_line("*geheim*")
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_the_dsn_fixture_can_be_overridden(suite: Suite, server: EmbeddedServer) -> None:
    """A conftest brings its own server, in SQLAlchemy's spelling too, and nothing else is asked."""
    suite.env.setenv("STORMDB_DSN", "host=/nowhere")
    url = f"postgresql+psycopg://postgres@/postgres?host={server.directory}&port=5432"
    suite.write(
        MARKED.format(options="iterations=2"),
        conftest=f"""
            import pytest

            @pytest.fixture(scope="session")
            def stormdb_dsn():
                return "{url}"
        """,
    )
    suite.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("value", "why"), [("5", "not a connection string but 'int'"), ("'not a dsn'", "not a connection string; *")]
)
def test_an_overridden_dsn_must_be_one(suite: Suite, value: str, why: str) -> None:
    """What is no connection string is refused by the fixture's name."""
    suite.write(
        MARKED.format(options="iterations=2"),
        conftest=f"""
            import pytest

            @pytest.fixture(scope="session")
            def stormdb_dsn():
                return {value}
        """,
    )
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*fixture stormdb_dsn: {why}"])
    result.stdout.no_fnmatch_line("*pytest_stormdb/*")


def test_help_names_every_option(suite: Suite) -> None:
    """``--help`` shows the options in a group of their own and their ini keys, ``--markers`` the marks."""
    result = suite.run("--help")
    result.stdout.fnmatch_lines(["load tests for PostgreSQL (stormdb):", "*--stormdb-workers=N*", "*--stormdb-smoke*"])
    result.stdout.fnmatch_lines(["*stormdb_workers (int):*"])
    marks = suite.run("--markers")
    marks.stdout.fnmatch_lines(["@pytest.mark.stormdb(workers, duration, *", "@pytest.mark.stormdb_slo(*"])


def test_a_file_in_the_ini_file_is_beside_it(suite: Suite) -> None:
    """A path of the ini file is relative to that file, wherever pytest starts; one that is empty is refused."""
    suite.write(MARKED.format(options="iterations=1"))
    suite.ini("[pytest]\nstormdb_json = runs.json\n")
    (suite.path / "below").mkdir()
    suite.env.chdir(suite.path / "below")
    suite.run("--rootdir=..", "-c", "../pytest.ini", "..").assert_outcomes(passed=1)
    assert suite.runs()[0]["plan"]["iterations"] == 1
    suite.ini("[pytest]\nstormdb_json =\n")
    result = suite.run("-c", "../pytest.ini", "..")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --stormdb-json: '' is no text; give it a value, or leave it out"])


def test_settings_are_resolved_once_and_kept(suite: Suite) -> None:
    """What is said of a test is resolved when it is collected; fixtures and the run itself read that."""
    suite.write(
        """
        import pytest

        @pytest.mark.stormdb(iterations=3, batch_size=7)
        @pytest.mark.stormdb_slo("errors == 0%")
        def test_it(worker, batch_size):
            assert batch_size == worker.batch_size == 7
        """,
        conftest="""
        from pytest_stormdb.load import layers
        from pytest_stormdb.plugin.settings import settings_of

        calls = []
        resolve = layers.resolve
        layers.resolve = lambda *given: calls.append(given) or resolve(*given)

        def pytest_collection_finish(session):
            (item,) = session.items
            assert settings_of(item) is settings_of(item)
            assert settings_of(item).plan.iterations == 3
            assert [threshold.expression for threshold in settings_of(item).thresholds] == ["errors == 0%"]

        def pytest_unconfigure():
            assert len(calls) == 1
        """,
    )
    suite.run().assert_outcomes(passed=1)
