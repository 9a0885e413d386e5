"""What visitors and editors change. Every statement says how many rows it must touch."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from imdb_data import (
    ADJECTIVES,
    ANCHOR,
    FIRST_NAMES,
    GENRES,
    HEROES,
    LAST_NAMES,
    NOUNS,
    REMARKS,
    as_json,
    overview,
    view,
)
from imdb_reads import any_actor, any_movie

if TYPE_CHECKING:
    from imdb_load import Library

    from pytest_stormdb import Worker


def change(worker: Worker, query: str, *values: object, rows: int = 1) -> Any:
    """The cursor of a statement that must touch so many rows."""
    cursor = worker.conn.execute(query, values)
    if cursor.rowcount != rows:
        raise AssertionError(f"{cursor.rowcount} rows touched instead of {rows}, with {values}")
    return cursor


def moment(worker: Worker) -> datetime:
    """The library's time: a second for each iteration, so that what is written depends on the plan alone."""
    return ANCHOR + timedelta(seconds=worker.iteration)


ADD_COMMENT = "INSERT INTO comments (movie_id, author, body, written_at) VALUES (%s, %s, %s, %s)"


def add_comment(worker: Worker, library: Library) -> None:
    author, body = f"visitor{worker.rng.randint(1, library.movies)}", worker.rng.choice(REMARKS)
    change(worker, ADD_COMMENT, any_movie(worker, library), author, body, moment(worker))


ADD_VOTE = "INSERT INTO votes (movie_id, vote, voted_at) VALUES (%s, %s, %s)"
COUNT_VOTE = """
    UPDATE movies SET upvotes = upvotes + %s, downvotes = downvotes + %s,
                      rating = round((coalesce(rating, 5) * 99 + %s) / 100, 2)
      WHERE movie_id = %s
    """


def vote(worker: Worker, library: Library) -> None:
    """A vote goes into the history, into the movie's counter and, a little, into its rating: all or nothing."""
    movie_id, up = any_movie(worker, library), worker.rng.random() < 0.7
    with worker.conn.transaction():
        change(worker, ADD_VOTE, movie_id, 1 if up else -1, moment(worker))
        change(worker, COUNT_VOTE, int(up), int(not up), Decimal(10 if up else 0), movie_id)


ADD_MOVIE = """
    INSERT INTO movies (title, year, country, rating, overview, meta) VALUES (%s, %s, %s, %s, %s, %s)
    """


def add_movie(worker: Worker, library: Library) -> None:
    rng = worker.rng
    country, year = rng.choice(library.places)
    title = f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
    meta = as_json({"genres": sorted(rng.sample(GENRES, 2)), "runtime": rng.randint(70, 200)})
    change(worker, ADD_MOVIE, title, year, country, Decimal(rng.randint(1, 100)).scaleb(-1), overview(rng), meta)


EDIT_COMMENT = """
    UPDATE comments SET body = %s, edits = edits + 1
      WHERE comment_id = (SELECT comment_id FROM comments WHERE movie_id = %s ORDER BY written_at DESC LIMIT 1)
    """


def edit_comment(worker: Worker, library: Library) -> None:
    """The latest one of a movie."""
    change(worker, EDIT_COMMENT, f"{worker.rng.choice(REMARKS)} (edited)", any_movie(worker, library))


ADD_ACTOR = "INSERT INTO actors (name, birth_year) VALUES (%s, %s)"


def add_actor(worker: Worker, library: Library) -> None:
    name = f"{worker.rng.choice(FIRST_NAMES)} {worker.rng.choice(LAST_NAMES)}"
    change(worker, ADD_ACTOR, name, worker.rng.randint(1930, 2005))


ADD_CAST = """
    INSERT INTO movie_cast (movie_id, actor_id, place, role) VALUES (%s, %s, %s, %s)
      ON CONFLICT (movie_id, actor_id) DO UPDATE SET place = excluded.place, role = excluded.role
    """


def add_cast(worker: Worker, library: Library) -> None:
    """An actor joins a movie's cast, or gets another role where he plays in it already."""
    place, role = worker.rng.randint(2, 20), f"the {worker.rng.choice(HEROES)}"
    change(worker, ADD_CAST, any_movie(worker, library), any_actor(worker, library), place, role)


LOG_VIEW = "INSERT INTO view_log (payload, viewed_at) VALUES (%s, %s)"


def log_view(worker: Worker, library: Library) -> None:
    payload = view(worker.rng, worker.rng.choice(library.imdb_ids))
    change(worker, LOG_VIEW, payload, moment(worker))
