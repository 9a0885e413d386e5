"""Loading the library into a database, looking at what is in it, and checking that its books agree."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from imdb_data import TABLES, Table, audience, generated
from imdb_files import tables
from psycopg import sql

INVARIANTS: Mapping[str, str] = {
    "every movie's counters equal its votes": """
        SELECT movie_id FROM movies
          LEFT JOIN (SELECT movie_id, count(*) FILTER (WHERE vote = 1) AS up, count(*) FILTER (WHERE vote = -1) AS down
                       FROM votes GROUP BY 1) v USING (movie_id)
          WHERE upvotes <> coalesce(up, 0) OR downvotes <> coalesce(down, 0)
        """,
    "whoever is in a cast is an actor, and plays in a movie": """
        SELECT c.movie_id FROM movie_cast c
          LEFT JOIN movies m USING (movie_id) LEFT JOIN actors a USING (actor_id)
          WHERE m.movie_id IS NULL OR a.actor_id IS NULL
        """,
    "what was seen is a movie": """
        SELECT view_id FROM view_log v LEFT JOIN movies m USING (imdb_id) WHERE m.movie_id IS NULL
        """,
    "every movie's genres are a list": """
        SELECT movie_id FROM movies WHERE jsonb_typeof(meta -> 'genres') IS DISTINCT FROM 'array'
        """,
}
"""Queries for what must not be: a row is a violation. Each is one statement, so that it also holds under load."""

MISCOUNTED = """
    SELECT movie_id FROM movies m
      WHERE movie_id <= 1000
        AND (upvotes <> (SELECT count(*) FROM votes v WHERE v.movie_id = m.movie_id AND vote = 1)
             OR downvotes <> (SELECT count(*) FROM votes v WHERE v.movie_id = m.movie_id AND vote = -1))
    """
"""The first of the invariants for some of the movies: cheap enough to be asked while the load runs."""

_PROGRESS_ROWS = 100_000
_STEP_ROWS = 1_000
_MOST_SAMPLES = 10_000

log = logging.getLogger("stormdb.imdb")


@dataclass(frozen=True, slots=True)
class Library:
    """What is in the loaded tables, for drawing from: movie and actor ids run from 1 to these numbers.

    ``with_cast`` are ids of movies that have a cast; the public files have some without. ``plots`` are pairs of
    words from the same overview.
    """

    movies: int
    actors: int
    with_cast: tuple[int, ...]
    imdb_ids: tuple[str, ...]
    titles: tuple[str, ...]
    places: tuple[tuple[str, int], ...]
    plots: tuple[tuple[str, str], ...]
    genres: tuple[str, ...]
    years: tuple[int, int]
    best_rating: Decimal
    has_trigrams: bool


def load(
    conn: psycopg.Connection[Any],
    scale: int,
    seed: int,
    data_dir: Path | None = None,
    advance: Callable[[int], object] = lambda rows: None,
) -> Library:
    """Make the tables, fill them by COPY, then add indexes. The library as it then is.

    ``advance`` is told how many rows more there are.
    """
    conn.execute(_script("imdb_schema.sql"))
    log.info("at most %d movies, seed %d, %s", scale, seed, f"from {data_dir}" if data_dir else "generated")
    for table in tables(data_dir, scale, seed) if data_dir else generated(scale, seed):
        copy_rows(conn, table, advance)
    imdb_ids = _column(conn, "SELECT imdb_id FROM movies ORDER BY movie_id")
    if not imdb_ids:
        raise RuntimeError(f"{data_dir}: no movie with a year in title.basics.tsv")
    for table in audience(imdb_ids, seed):
        copy_rows(conn, table, advance)
    _settle(conn)
    log.info("making indexes")
    conn.execute(_script("imdb_indexes.sql"))
    has_trigrams = _add_trigrams(conn)
    conn.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.SQL(", ").join(map(sql.Identifier, TABLES))))
    return _library(conn, imdb_ids, has_trigrams)


def copy_rows(conn: psycopg.Connection[Any], table: Table, advance: Callable[[int], object]) -> None:
    """Load rows by COPY, and log how far it is."""
    names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
    done = 0
    with conn.cursor() as cursor, cursor.copy(command) as copy:
        for done, row in enumerate(table.rows(), 1):
            copy.write_row(row)
            if done % _STEP_ROWS == 0:
                advance(_STEP_ROWS)
            if done % _PROGRESS_ROWS == 0:
                log.info("%s: %d of about %d rows", table.name, done, table.count)
    log.info("%s: %d rows loaded", table.name, done)


def violations(conn: psycopg.Connection[Any]) -> list[str]:
    """The invariants that do not hold, each with the first keys that violate it."""
    found = []
    for name, query in INVARIANTS.items():
        rows = conn.execute(query.encode()).fetchmany(3)
        if rows:
            found.append(f"not so: {name}; see {', '.join(str(row[0]) for row in rows)}")
    return found


def checksums(conn: psycopg.Connection[Any]) -> dict[str, str]:
    """The MD5 of each table's rows, sorted as text."""
    found = {}
    for table in TABLES:
        query = sql.SQL('SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text COLLATE "C")) FROM {} t')
        row = conn.execute(query.format(sql.Identifier(table))).fetchone()
        found[table] = str(row[0]) if row else ""
    return found


def _script(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _settle(conn: psycopg.Connection[Any]) -> None:
    """What follows from the votes, and where the numbering goes on."""
    conn.execute("""
        UPDATE movies SET upvotes = up, downvotes = down
          FROM (SELECT movie_id, count(*) FILTER (WHERE vote = 1) AS up, count(*) FILTER (WHERE vote = -1) AS down
                  FROM votes GROUP BY 1) counted
          WHERE counted.movie_id = movies.movie_id""")
    conn.execute("SELECT setval(pg_get_serial_sequence('movies', 'movie_id'), (SELECT max(movie_id) FROM movies))")
    conn.execute("SELECT setval(pg_get_serial_sequence('actors', 'actor_id'), (SELECT max(actor_id) FROM actors))")


def _add_trigrams(conn: psycopg.Connection[Any]) -> bool:
    """Index the titles' trigrams where pg_trgm can be had; whether it could."""
    try:
        conn.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        conn.execute("CREATE INDEX movies_title_trigrams ON movies USING gin (title gin_trgm_ops)")
    except psycopg.Error as error:
        log.warning("no pg_trgm (%s); titles are searched by their beginning", str(error).splitlines()[0])
        return False
    return True


def _column(conn: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    return tuple(row[0] for row in conn.execute(query.encode()).fetchall())


def _library(conn: psycopg.Connection[Any], imdb_ids: tuple[str, ...], has_trigrams: bool) -> Library:
    places = conn.execute("SELECT DISTINCT country, year FROM movies ORDER BY 1, 2").fetchall()
    years = [year for _, year in places]
    with_cast = _column(conn, "SELECT DISTINCT movie_id FROM movie_cast ORDER BY 1")
    samples = conn.execute(
        """SELECT title, split_part(overview, ' ', 2), split_part(overview, ' ', 5)
             FROM movies ORDER BY movie_id LIMIT %s""",
        [_MOST_SAMPLES],
    ).fetchall()
    genres = _column(conn, "SELECT DISTINCT jsonb_array_elements_text(meta -> 'genres') FROM movies ORDER BY 1")
    (best,) = _column(conn, "SELECT max(rating) FROM movies")
    (actors,) = _column(conn, "SELECT count(*) FROM actors")
    if not (with_cast and genres and best is not None):
        raise RuntimeError("the queries need movies with a cast, with genres and with a rating; the files have none")
    return Library(
        movies=len(imdb_ids),
        actors=actors,
        with_cast=with_cast,
        imdb_ids=imdb_ids,
        titles=tuple(title for title, _, _ in samples),
        plots=tuple((hero, other) for _, hero, other in samples),
        places=tuple(places),
        genres=genres,
        years=(min(years), max(years)),
        best_rating=best,
        has_trigrams=has_trigrams,
    )
