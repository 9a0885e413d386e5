"""A library of movies under load: reading, writing, and both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imdb_reads as reads
import imdb_writes as writes
import pytest
from imdb_data import TABLES
from imdb_files import missing_files
from imdb_load import MISCOUNTED, Library, load, violations
from psycopg import sql
from pydantic import BaseModel, DirectoryPath, Field, field_validator

if TYPE_CHECKING:
    import psycopg

    from pytest_stormdb import Worker
    from pytest_stormdb.configuration.parameters import Parameters


class LibraryParameters(BaseModel, extra="forbid"):
    """What a configuration file may set under `parameters`."""

    scale: int = Field(1000, ge=20, le=10_000_000, description="movies; with data_dir, how many to take at most")
    seed: int = Field(42, description="of the data: the same seed and scale make the same rows")
    data_dir: DirectoryPath | None = Field(None, description="a folder with the public IMDb files, plain or gzipped")

    @field_validator("data_dir")
    @classmethod
    def _has_all_files(cls, folder: Path | None) -> Path | None:
        missing = missing_files(folder) if folder is not None else []
        if missing:
            raise ValueError(f"{folder} lacks {', '.join(missing)}")
        return folder


@pytest.fixture(scope="module")
def library(
    stormdb_connection: psycopg.Connection[Any], stormdb_parameters: Parameters, stormdb_progress: Any
) -> Iterator[Library]:
    """The loaded library; when the load is over, its books must agree."""
    given = stormdb_parameters(LibraryParameters)
    with stormdb_progress("library") as loading:
        library = load(stormdb_connection, given.scale, given.seed, given.data_dir, loading.advance)
    yield library
    assert violations(stormdb_connection) == []


@pytest.mark.stormdb_health
def all_tables_are_filled(conn: psycopg.Connection[Any]) -> None:
    """Each of the six tables has rows."""
    for table in TABLES:
        assert conn.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(table))).rowcount == 1, table


@pytest.mark.stormdb_health
def votes_are_counted(conn: psycopg.Connection[Any]) -> None:
    """A vote is in the history and in the counter, or in neither."""
    assert conn.execute(MISCOUNTED.encode()).fetchall() == []


# The weights of the two mixins add up to 70 and 30: a mix of both is 70 % reads and 30 % writes.
LOOKUP, ANALYSIS = 60 / 10, 10 / 5
WRITE = 30 / 7


class Reads:
    """Ten look-ups by an index and five analyses: the lighter, the more often."""

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def title_search(self, worker: Worker, library: Library) -> None:
        reads.title_search(worker, library)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def best_rated(self, worker: Worker, library: Library) -> None:
        reads.best_rated(worker, library)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def by_country_and_year(self, worker: Worker, library: Library) -> None:
        reads.by_country_and_year(worker, library)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def by_imdb_id(self, worker: Worker, library: Library) -> None:
        reads.by_imdb_id(worker, library)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def by_genre(self, worker: Worker, library: Library) -> None:
        reads.by_genre(worker, library)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def full_text(self, worker: Worker, library: Library) -> None:
        reads.full_text(worker, library)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def cast_of_movie(self, worker: Worker, library: Library) -> None:
        reads.cast_of_movie(worker, library)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def movie_details(self, worker: Worker, library: Library) -> None:
        reads.movie_details(worker, library)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def movies_of_actor(self, worker: Worker, library: Library) -> None:
        reads.movies_of_actor(worker, library)

    @pytest.mark.stormdb_operation(weight=LOOKUP)
    def comments_of_movie(self, worker: Worker, library: Library) -> None:
        reads.comments_of_movie(worker, library)

    @pytest.mark.stormdb_operation(weight=ANALYSIS)
    def best_of_each_country(self, worker: Worker, library: Library) -> None:
        reads.best_of_each_country(worker, library)

    @pytest.mark.stormdb_operation(weight=ANALYSIS)
    def movies_of_each_year(self, worker: Worker, library: Library) -> None:
        reads.movies_of_each_year(worker, library)

    @pytest.mark.stormdb_operation(weight=ANALYSIS)
    def countries_compared(self, worker: Worker, library: Library) -> None:
        reads.countries_compared(worker, library)

    @pytest.mark.stormdb_operation(weight=ANALYSIS)
    def rating_trend(self, worker: Worker, library: Library) -> None:
        reads.rating_trend(worker, library)

    @pytest.mark.stormdb_operation(weight=ANALYSIS)
    def career_of_actor(self, worker: Worker, library: Library) -> None:
        reads.career_of_actor(worker, library)


class Writes:
    """Seven writes, each as often as the others."""

    @pytest.mark.stormdb_operation(weight=WRITE)
    def add_comment(self, worker: Worker, library: Library) -> None:
        writes.add_comment(worker, library)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def vote(self, worker: Worker, library: Library) -> None:
        writes.vote(worker, library)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def add_movie(self, worker: Worker, library: Library) -> None:
        writes.add_movie(worker, library)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def edit_comment(self, worker: Worker, library: Library) -> None:
        writes.edit_comment(worker, library)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def add_actor(self, worker: Worker, library: Library) -> None:
        writes.add_actor(worker, library)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def add_cast(self, worker: Worker, library: Library) -> None:
        writes.add_cast(worker, library)

    @pytest.mark.stormdb_operation(weight=WRITE)
    def log_view(self, worker: Worker, library: Library) -> None:
        writes.log_view(worker, library)


@pytest.mark.stormdb(workers=10, duration="2s", warmup="250ms")
@pytest.mark.stormdb_slo("p95 < 500ms", "throughput > 20/s", "errors == 0%")
class TestRead(Reads):
    """Reads only."""


@pytest.mark.stormdb(workers=10, duration="2s", warmup="250ms")
@pytest.mark.stormdb_slo("p95 < 500ms", "throughput > 20/s", "errors == 0%")
class TestWrite(Writes):
    """Writes only."""


@pytest.mark.stormdb(workers=10, duration="2s", warmup="250ms")
@pytest.mark.stormdb_slo("p95 < 500ms", "throughput > 20/s", "errors == 0%")
class TestMixed(Reads, Writes):
    """70 % reads, 30 % writes."""
