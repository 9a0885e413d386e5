"""The packaged workload ``imdb``: it passes, its data repeat, its queries use their indexes, its books agree."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_stormdb.configuration.file import load_configuration
from pytest_stormdb.embedded.server import EmbeddedServer
from pytest_stormdb.packages.checksums import verify
from pytest_stormdb.packages.metadata import load_metadata
from tests.conftest import Suite

from .packages import Connection, connected, empty_database, module_beside

FOLDER = Path(__file__).parents[2] / "example_workloads" / "imdb"
READS = {
    *("title_search", "best_rated", "by_country_and_year", "by_imdb_id", "by_genre", "full_text", "cast_of_movie"),
    *("movie_details", "movies_of_actor", "comments_of_movie", "best_of_each_country", "movies_of_each_year"),
    *("countries_compared", "rating_trend", "career_of_actor"),
}
WRITES = {"add_comment", "vote", "add_movie", "edit_comment", "add_actor", "add_cast", "log_view"}
MIXES = {"TestRead": READS, "TestWrite": WRITES, "TestMixed": READS | WRITES}

BASICS = r"""
tconst	titleType	primaryTitle	originalTitle	isAdult	startYear	endYear	runtimeMinutes	genres
tt0000001	short	Carmencita	Carmencita	0	1894	\N	1	Documentary,Short
tt0000502	movie	Bohemios	Bohemios	0	1905	\N	100	\N
tt0000574	movie	The Story of the "Kelly" Gang	The Story of the Kelly Gang	0	1906	\N	70	Action,Adventure
tt0000591	movie	L'été_100% \ fin	L'été	0	1907	\N	\N	Drama
tt0000615	movie	Robbery	Robbery	0	\N	\N	\N	Drama
tt0000630	movie	Grown-ups	Grown-ups	1	1908	\N	\N	Drama
tt0000675	movie	Don Quijote	Don Quijote	0	1908	\N	\N	Drama,Adventure
"""
RATINGS = """
tconst	averageRating	numVotes
tt0000001	5.7	2100
tt0000574	6.0	950
tt0000591	4.3	30
tt0000675	4.4	25
"""
NAMES = r"""
nconst	primaryName	birthYear	deathYear	primaryProfession	knownForTitles
nm0000001	Elizabeth Tait	1879	1938	actress	tt0000574
nm0000002	John Forde	\N	\N	actor	tt0000574
nm0000003	Behind the Camera	1880	\N	director	tt0000574
nm0000004	In a Short	1868	\N	actress	tt0000001
"""
PRINCIPALS = r"""
tconst	ordering	nconst	category	job	characters
tt0000001	1	nm0000004	actress	\N	["Herself"]
tt0000574	1	nm0000001	actress	\N	["Kate \"Kitty\" Kelly","A neighbour"]
tt0000574	2	nm0000002	actor	\N	\N
tt0000574	3	nm0000003	director	\N	\N
tt0000574	4	nm0000001	actress	\N	["A ghost"]
tt0000591	1	nm0000002	actor	\N	["Un soldat"]
tt0000675	1	nm9999999	actor	\N	["Not among the names"]
"""

import_module = partial(module_beside, FOLDER)


@pytest.fixture
def packaged(suite: Suite) -> Suite:
    """A suite that is a copy of the folder."""
    shutil.copytree(FOLDER, suite.path / FOLDER.name, ignore=shutil.ignore_patterns("__pycache__"))
    return suite


@pytest.fixture
def public_files(tmp_path: Path) -> Path:
    """A folder with a few lines in the form of the public files, two of them gzipped."""
    folder = tmp_path / "public"
    folder.mkdir()
    (folder / "title.basics.tsv").write_text(BASICS.lstrip(), encoding="utf-8")
    (folder / "name.basics.tsv").write_text(NAMES.lstrip(), encoding="utf-8")
    (folder / "title.ratings.tsv.gz").write_bytes(gzip.compress(RATINGS.lstrip().encode()))
    (folder / "title.principals.tsv.gz").write_bytes(gzip.compress(PRINCIPALS.lstrip().encode()))
    return folder


def load(conn: Connection, scale: int, seed: int = 42, data_dir: Path | None = None) -> Any:
    """Load the library into an empty database; the library."""
    return import_module("imdb_load").load(conn, scale, seed, data_dir)


@pytest.fixture(scope="module")
def loaded(server: EmbeddedServer) -> Iterator[Connection]:
    """A connection into a loaded library, which tests leave as it is."""
    with empty_database(server, "imdb_data") as conn:
        load(conn, 300)
        yield conn


@pytest.fixture
def elsewhere(server: EmbeddedServer) -> Iterator[Connection]:
    """A connection to an empty database of the same server."""
    with empty_database(server, "imdb_elsewhere") as conn:
        yield conn


@pytest.fixture
def scratch(loaded: Connection) -> Iterator[Connection]:
    """The same in a transaction that is rolled back."""
    with loaded.transaction(force_rollback=True):
        yield loaded


@pytest.mark.slow
def test_every_mix_passes_without_a_failed_operation(packaged: Suite) -> None:
    """Ten workers run all three mixes: each operation is there, none failed, and the books agree afterwards."""
    result = packaged.run("--stormdb-param", "scale=100", "--stormdb-duration=2s", "--stormdb-json=runs.json")
    result.assert_outcomes(passed=3)
    check_runs(packaged.runs())


@pytest.mark.slow
def test_every_mix_passes_on_the_public_files(packaged: Suite, public_files: Path) -> None:
    """The same with movies that lack a rating, a genre or a cast, and with titles full of special characters."""
    result = packaged.run(
        "--stormdb-param", f"data_dir={public_files}", "--stormdb-duration=2s", "--stormdb-json=runs.json"
    )
    result.assert_outcomes(passed=3)
    check_runs(packaged.runs())


def check_runs(runs: list[dict[str, Any]]) -> None:
    assert {run["nodeid"].rpartition("::")[2] for run in runs} == set(MIXES)
    for run in runs:
        assert MIXES[run["nodeid"].rpartition("::")[2]] == set(run["operations"])
        assert run["totals"]["failures"] == 0
        assert run["outcome"] == "passed"
        assert run["health"]
        assert all(check["ok"] for check in run["health"])


@pytest.mark.slow
@pytest.mark.parametrize("parameter", ["scale=19", "scal=100", "data_dir=/nowhere"])
def test_a_wrong_parameter_is_refused_by_name(packaged: Suite, parameter: str) -> None:
    """What the model does not allow is an error that names the parameter, before any table is made."""
    result = packaged.run("-k", "TestRead", "--stormdb-param", parameter)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{parameter.partition('=')[0]}: *"])


@pytest.mark.slow
def test_a_folder_without_all_files_is_refused(packaged: Suite, public_files: Path) -> None:
    """The error names the file that is missing."""
    (public_files / "name.basics.tsv").unlink()
    result = packaged.run("-k", "TestRead", "--stormdb-param", f"data_dir={public_files}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*data_dir: *lacks name.basics.tsv*"])


def test_its_checksums_hold() -> None:
    """``sha256sum -c`` and our own verification find every file as it was sealed."""
    assert verify(FOLDER).state == "verified", verify(FOLDER).problems
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "imdb.sha256"], cwd=FOLDER, check=True)


def test_its_metadata_and_configurations_are_read() -> None:
    """Metadata name the folder; both examples are configurations of this workload that need no server."""
    metadata = load_metadata(FOLDER / "imdb.yaml")
    assert (metadata.name, metadata.license) == ("imdb", "MIT")
    for name in ("basic", "advanced"):
        configuration = load_configuration(FOLDER / "examples" / f"{name}-config.yaml", {})
        assert (configuration.plugin, configuration.version) == ("imdb", metadata.version)
        import_module("test_imdb").LibraryParameters(**configuration.parameters)
        assert configuration.database is None


def test_same_seed_and_scale_make_the_same_data_on_two_servers(loaded: Connection) -> None:
    """Each of the six tables has the same checksum on another server, in another session."""
    checksums = import_module("imdb_load").checksums
    first = checksums(loaded)
    assert len(first) == 6
    with EmbeddedServer.start() as other, connected(other.dsn) as conn:
        load(conn, 300)
        assert checksums(conn) == first


def test_another_seed_makes_other_data(loaded: Connection, elsewhere: Connection) -> None:
    """All that is drawn by lot differs with the seed."""
    checksums = import_module("imdb_load").checksums
    load(elsewhere, 300, seed=43)
    different = checksums(elsewhere)
    assert {table for table, digest in checksums(loaded).items() if digest == different[table]} == set()


@pytest.mark.parametrize(
    ("query", "values", "index"),
    [
        ("TITLE_BEGINS", ["The Quie%"], "movies_title"),
        ("BEST_RATED", [8], "movies_rating"),
        ("BY_COUNTRY_AND_YEAR", ["USA", 2000], "movies_country_year"),
        ("BY_IMDB_ID", ["tt0000007"], "movies_imdb_id_key"),
        ("BY_GENRE", ["Drama"], "movies_meta"),
        ("FULL_TEXT", ["baker or captain"], "movies_words"),
        ("CAST_OF_MOVIE", [7], "movie_cast_pkey"),
        ("MOVIE", [7], "movies_pkey"),
        ("NUMBERS_OF_MOVIE", [7], "view_log_movie"),
        ("MOVIES_OF_ACTOR", [7], "movie_cast_actor"),
        ("COMMENTS_OF_MOVIE", [7], "comments_movie"),
        ("MOVIES_OF_EACH_YEAR", [1990, 2024], "movies_year"),
        ("CAREER_OF_ACTOR", {"actor": 7}, "movie_cast_actor"),
    ],
)
def test_a_query_uses_its_index(scratch: Connection, query: str, values: Any, index: str) -> None:
    """Where it may not read a whole table, the server finds the index that was made for the query."""
    for way in ("seqscan", "hashjoin", "mergejoin"):
        scratch.execute(f"SET LOCAL enable_{way} = off".encode())
    text = getattr(import_module("imdb_reads"), query)
    plan = "\n".join(line for (line,) in scratch.execute(f"EXPLAIN {text}", values).fetchall())
    assert f" {index} " in f"{plan} ".replace("\n", " "), plan


def test_the_loaded_books_agree(loaded: Connection) -> None:
    """All invariants hold from the start, and so does the health check's part of them."""
    module = import_module("imdb_load")
    assert module.violations(loaded) == []
    assert loaded.execute(module.MISCOUNTED).fetchall() == []


@pytest.mark.parametrize(
    ("damage", "invariant"),
    [
        ("UPDATE movies SET upvotes = upvotes + 1 WHERE movie_id = 1", "counters equal"),
        ("DELETE FROM votes WHERE vote = -1", "counters equal"),
        (
            "ALTER TABLE movie_cast DROP CONSTRAINT movie_cast_actor_id_fkey; DELETE FROM actors WHERE actor_id = 1",
            "in a cast",
        ),
        ('UPDATE view_log SET payload = \'{"imdb_id": "tt9"}\' WHERE view_id = 1', "what was seen"),
        ("UPDATE movies SET meta = '{}' WHERE movie_id = 1", "genres"),
    ],
)
def test_an_invariant_notices_damage(scratch: Connection, damage: str, invariant: str) -> None:
    """Every invariant can fail: one wrong row is enough."""
    scratch.execute(damage.encode())
    found = import_module("imdb_load").violations(scratch)
    assert any(invariant in violation for violation in found), found


def test_the_public_files_are_loaded_as_they_are(elsewhere: Connection, public_files: Path) -> None:
    """Movies with a year, their players, each once, and null where the files say so; the rest is left out."""
    library = load(elsewhere, 1000, data_dir=public_files)
    movies = elsewhere.execute("SELECT imdb_id, title, year, rating, meta FROM movies ORDER BY movie_id").fetchall()
    assert [(imdb_id, year, rating and float(rating)) for imdb_id, _, year, rating, _ in movies] == [
        ("tt0000502", 1905, None),
        ("tt0000574", 1906, 6.0),
        ("tt0000591", 1907, 4.3),
        ("tt0000675", 1908, 4.4),
    ]
    assert movies[1][1] == 'The Story of the "Kelly" Gang'
    assert movies[2][1] == r"L'été_100% \ fin"
    assert movies[0][4] == {"genres": [], "runtime": 100, "imdb_votes": 0}
    assert movies[1][4] == {"genres": ["Action", "Adventure"], "runtime": 70, "imdb_votes": 950}
    actors = elsewhere.execute("SELECT imdb_id, name, birth_year FROM actors ORDER BY actor_id").fetchall()
    assert actors == [("nm0000001", "Elizabeth Tait", 1879), ("nm0000002", "John Forde", None)]
    cast = elsewhere.execute("SELECT movie_id, actor_id, place, role FROM movie_cast ORDER BY 1, 2").fetchall()
    assert cast == [(2, 1, 1, 'Kate "Kitty" Kelly, A neighbour'), (2, 2, 2, None), (3, 2, 1, "Un soldat")]
    assert library.with_cast == (2, 3)
    assert import_module("imdb_load").violations(elsewhere) == []


def test_scale_limits_the_public_files(elsewhere: Connection, public_files: Path) -> None:
    """No more movies than ``scale`` are taken, and only who plays in them."""
    library = load(elsewhere, 2, data_dir=public_files)
    assert (library.movies, library.actors) == (2, 2)


def test_a_broken_line_is_named(elsewhere: Connection, public_files: Path) -> None:
    """A line with a value too few is an error with file and line."""
    (public_files / "title.basics.tsv").write_text(BASICS.lstrip() + "tt0000700\tmovie\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"title\.basics\.tsv:9: 2 values instead of 9"):
        load(elsewhere, 1000, data_dir=public_files)


def test_files_without_what_the_queries_need_are_refused(elsewhere: Connection, public_files: Path) -> None:
    """A library without any cast is an error that says so, not a run whose queries find nothing."""
    (public_files / "title.principals.tsv.gz").write_bytes(gzip.compress(PRINCIPALS.lstrip().encode().split(b"tt")[0]))
    with pytest.raises(RuntimeError, match="need movies with a cast"):
        load(elsewhere, 1000, data_dir=public_files)


def test_titles_are_matched_by_what_is_written_in_them() -> None:
    """What LIKE takes for a wildcard is escaped."""
    assert import_module("imdb_reads").beginning_of("100%_\\x and more") == r"100\%\_\\x %"
