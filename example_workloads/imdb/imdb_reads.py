"""What visitors and editors look at: one statement each (two for a movie's page), and what it must find."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imdb_load import Library

    from pytest_stormdb import Worker

_LIKE_SPECIAL = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_"})


def fetch(worker: Worker, query: str, *values: object, least: int = 1) -> list[tuple[Any, ...]]:
    """The rows of a query; fewer than ``least`` of them are a failure."""
    rows: list[tuple[Any, ...]] = worker.conn.execute(query, values).fetchall()
    if len(rows) < least:
        raise AssertionError(f"{len(rows)} rows instead of {least} or more, with {values}")
    return rows


def any_movie(worker: Worker, library: Library) -> int:
    """The id of a loaded movie."""
    return worker.rng.randint(1, library.movies)


def any_actor(worker: Worker, library: Library) -> int:
    """The id of a loaded actor."""
    return worker.rng.randint(1, library.actors)


def beginning_of(title: str) -> str:
    """A pattern for LIKE that the title matches by its first characters."""
    return title[:8].translate(_LIKE_SPECIAL) + "%"


def middle_of(title: str, rng: random.Random) -> str:
    """A pattern for ILIKE that the title matches by characters somewhere in it."""
    first = rng.randint(0, max(0, len(title) - 6))
    return f"%{title[first : first + 6].translate(_LIKE_SPECIAL)}%"


# -- looking one thing up, by an index -------------------------------------------------------------------------------


TITLE_BEGINS = """
    SELECT movie_id, title, year FROM movies WHERE lower(title) LIKE lower(%s)
      ORDER BY rating DESC NULLS LAST, movie_id LIMIT 20
    """
TITLE_CONTAINS = """
    SELECT movie_id, title, year FROM movies WHERE title ILIKE %s
      ORDER BY rating DESC NULLS LAST, movie_id LIMIT 20
    """


def title_search(worker: Worker, library: Library) -> None:
    """By a part of the title where pg_trgm is there, else by its beginning."""
    title = worker.rng.choice(library.titles)
    if library.has_trigrams:
        fetch(worker, TITLE_CONTAINS, middle_of(title, worker.rng))
    else:
        fetch(worker, TITLE_BEGINS, beginning_of(title))


BEST_RATED = """
    SELECT movie_id, title, rating FROM movies WHERE rating >= %s ORDER BY rating DESC, movie_id LIMIT 20
    """


def best_rated(worker: Worker, library: Library) -> None:
    rating = min(library.best_rating, Decimal(worker.rng.randint(50, 95)).scaleb(-1))
    fetch(worker, BEST_RATED, rating)


BY_COUNTRY_AND_YEAR = """
    SELECT movie_id, title, rating FROM movies WHERE country = %s AND year = %s
      ORDER BY rating DESC NULLS LAST LIMIT 20
    """


def by_country_and_year(worker: Worker, library: Library) -> None:
    fetch(worker, BY_COUNTRY_AND_YEAR, *worker.rng.choice(library.places))


BY_IMDB_ID = "SELECT movie_id, title, year, rating, upvotes, downvotes FROM movies WHERE imdb_id = %s"


def by_imdb_id(worker: Worker, library: Library) -> None:
    fetch(worker, BY_IMDB_ID, worker.rng.choice(library.imdb_ids))


BY_GENRE = """
    SELECT movie_id, title, meta ->> 'runtime' AS runtime FROM movies
      WHERE meta @> jsonb_build_object('genres', jsonb_build_array(%s::text))
      ORDER BY rating DESC NULLS LAST LIMIT 20
    """


def by_genre(worker: Worker, library: Library) -> None:
    fetch(worker, BY_GENRE, worker.rng.choice(library.genres))


FULL_TEXT = """
    SELECT movie_id, title, ts_rank(words, query) AS rank
      FROM movies, websearch_to_tsquery('english', %s) AS query
      WHERE words @@ query ORDER BY rank DESC, movie_id LIMIT 20
    """


def full_text(worker: Worker, library: Library) -> None:
    """Both or either of two words of a plot."""
    fetch(worker, FULL_TEXT, worker.rng.choice((" ", " or ")).join(worker.rng.choice(library.plots)))


CAST_OF_MOVIE = """
    SELECT a.actor_id, a.name, c.role FROM movie_cast c JOIN actors a USING (actor_id)
      WHERE c.movie_id = %s ORDER BY c.place, a.actor_id LIMIT 50
    """


def cast_of_movie(worker: Worker, library: Library) -> None:
    fetch(worker, CAST_OF_MOVIE, worker.rng.choice(library.with_cast))


MOVIE = "SELECT title, year, country, rating, overview, meta, upvotes, downvotes FROM movies WHERE movie_id = %s"
NUMBERS_OF_MOVIE = """
    SELECT (SELECT count(*) FROM comments WHERE movie_id = m.movie_id) AS comments,
           (SELECT count(*) FROM view_log WHERE imdb_id = m.imdb_id) AS views,
           (SELECT avg((payload ->> 'seconds')::int) FROM view_log WHERE imdb_id = m.imdb_id) AS seconds
      FROM movies m WHERE movie_id = %s
    """


def movie_details(worker: Worker, library: Library) -> None:
    """A movie's page: itself, then its numbers."""
    movie_id = any_movie(worker, library)
    fetch(worker, MOVIE, movie_id)
    rows = fetch(worker, NUMBERS_OF_MOVIE, movie_id)
    assert rows[0][0] >= 1, "every movie has a comment"


MOVIES_OF_ACTOR = """
    SELECT m.movie_id, m.title, m.year, m.rating, c.role
      FROM movie_cast c JOIN movies m USING (movie_id) WHERE c.actor_id = %s ORDER BY m.year DESC, m.movie_id
    """


def movies_of_actor(worker: Worker, library: Library) -> None:
    fetch(worker, MOVIES_OF_ACTOR, any_actor(worker, library))


COMMENTS_OF_MOVIE = """
    SELECT comment_id, author, body, edits FROM comments WHERE movie_id = %s ORDER BY written_at DESC LIMIT 20
    """


def comments_of_movie(worker: Worker, library: Library) -> None:
    fetch(worker, COMMENTS_OF_MOVIE, any_movie(worker, library))


# -- analysing many ------------------------------------------------------------------------------------------------


BEST_OF_EACH_COUNTRY = """
    SELECT country, title, rating, place
      FROM (SELECT country, title, rating,
                   row_number() OVER (PARTITION BY country ORDER BY rating DESC, movie_id) AS place
              FROM movies WHERE rating IS NOT NULL AND year BETWEEN %s AND %s) ranked
      WHERE place <= 3 ORDER BY country, place
    """


def best_of_each_country(worker: Worker, library: Library) -> None:
    """A window function; ten years from a year that has movies."""
    year = worker.rng.choice(library.places)[1]
    fetch(worker, BEST_OF_EACH_COUNTRY, year, year + 9, least=0)


MOVIES_OF_EACH_YEAR = """
    WITH RECURSIVE years (year) AS (
        SELECT %s::int UNION ALL SELECT year + 1 FROM years WHERE year < %s::int
    )
    SELECT y.year, count(m.movie_id) AS movies, avg(m.rating)::numeric(4, 2) AS rating
      FROM years y LEFT JOIN movies m ON m.year = y.year GROUP BY y.year ORDER BY y.year
    """


def movies_of_each_year(worker: Worker, library: Library) -> None:
    """A recursive series: a row for each year, also for one without movies."""
    first, last = library.years
    rows = fetch(worker, MOVIES_OF_EACH_YEAR, first, last)
    assert len(rows) == last - first + 1, (first, last)


COUNTRIES_COMPARED = """
    WITH rated AS (
        SELECT country, count(*) AS movies, avg(rating) AS rating FROM movies GROUP BY country
    ), talked AS (
        SELECT m.country, count(*) AS comments FROM comments c JOIN movies m USING (movie_id) GROUP BY m.country
    ), seen AS (
        SELECT m.country, count(*) AS views, sum((v.payload ->> 'seconds')::bigint) AS seconds
          FROM view_log v JOIN movies m USING (imdb_id) GROUP BY m.country
    ), voted AS (
        SELECT country, sum(upvotes) AS up, sum(downvotes) AS down FROM movies GROUP BY country
    )
    SELECT country, movies, rating, comments, views, seconds / nullif(views, 0) AS seconds_per_view, up, down
      FROM rated LEFT JOIN talked USING (country) LEFT JOIN seen USING (country) JOIN voted USING (country)
      ORDER BY rating DESC NULLS LAST, country
    """


def countries_compared(worker: Worker, library: Library) -> None:
    """Four common table expressions, joined."""
    fetch(worker, COUNTRIES_COMPARED, least=len({country for country, _ in library.places}))


RATING_TREND = """
    SELECT year, rating, rating - lag(rating) OVER by_year AS change,
           avg(rating) OVER (ORDER BY year ROWS 2 PRECEDING) AS average_of_three,
           percent_rank() OVER (ORDER BY rating) AS standing, ntile(4) OVER (ORDER BY rating DESC) AS quarter,
           first_value(title) OVER (PARTITION BY year / 10 ORDER BY best DESC, year) AS best_of_decade
      FROM (SELECT year, avg(rating) AS rating, max(rating) AS best,
                   (array_agg(title ORDER BY rating DESC, movie_id))[1] AS title
              FROM movies WHERE rating IS NOT NULL GROUP BY year) years
      WINDOW by_year AS (ORDER BY year) ORDER BY year
    """


def rating_trend(worker: Worker, library: Library) -> None:
    """Windows over windows: changes, moving averages, ranks, quarters."""
    fetch(worker, RATING_TREND)


CAREER_OF_ACTOR = """
    WITH career AS (
        SELECT m.year, m.rating, m.title, c.place
          FROM movie_cast c JOIN movies m USING (movie_id) WHERE c.actor_id = %(actor)s
    ), decades AS (
        SELECT year / 10 * 10 AS decade, count(*) AS movies, count(*) FILTER (WHERE place = 1) AS leads,
               avg(rating) AS rating, max(rating) AS best
          FROM career GROUP BY 1
    )
    SELECT a.name, d.decade, d.movies, d.leads, d.rating, d.decade - a.birth_year AS age,
           sum(d.movies) OVER (ORDER BY d.decade) AS so_far
      FROM decades d CROSS JOIN actors a WHERE a.actor_id = %(actor)s ORDER BY d.decade
    """


def career_of_actor(worker: Worker, library: Library) -> None:
    rows = worker.conn.execute(CAREER_OF_ACTOR, {"actor": any_actor(worker, library)}).fetchall()
    assert rows, "every actor has a decade"
