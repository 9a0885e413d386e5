"""What is in the library's tables: the same seed and scale make the same rows, on any machine, at any time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

ANCHOR = datetime(2025, 1, 1, tzinfo=UTC)
"""The library's today: data lie before it, and what the load writes comes after it."""

TABLES = ("movies", "actors", "movie_cast", "comments", "view_log", "votes")
COUNTRIES = ("BRA", "CAN", "DEU", "FRA", "GBR", "IND", "JPN", "USA")
GENRES = ("Action", "Comedy", "Crime", "Drama", "Fantasy", "Horror", "Romance", "Thriller")
ADJECTIVES = ("Broken", "Crimson", "Distant", "Endless", "Golden", "Hidden", "Last", "Lonely", "Quiet", "Silent")
NOUNS = ("Bridge", "Garden", "Harbour", "Island", "Journey", "Letter", "Mirror", "Mountain", "River", "Winter")
HEROES = ("astronaut", "baker", "captain", "detective", "gardener", "musician", "painter", "teacher")
DEEDS = ("betrays", "discovers", "forgives", "hunts", "loses", "remembers", "rescues", "searches")
FIRST_NAMES = ("Ada", "Boris", "Clara", "Dario", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas")
LAST_NAMES = ("Adler", "Brandt", "Costa", "Dubois", "Ekman", "Fischer", "Garcia", "Hansen", "Ito", "Jansen")
REMARKS = ("a masterpiece", "far too long", "fine music", "not my taste", "seen it twice", "what an ending")
DEVICES = ("cinema", "phone", "tablet", "television")
FIRST_YEAR, LAST_YEAR = 1990, 2024

_DAYS = 365

Rows = Iterator[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Table:
    """One table to load: its columns, its rows, and about how many there are."""

    name: str
    columns: Sequence[str]
    rows: Callable[[], Rows]
    count: int


def generated(movies: int, seed: int) -> list[Table]:
    """Movies, actors and cast, made up."""
    actors = max(10, movies // 2)
    return [
        Table("movies", MOVIE_COLUMNS, lambda: _movies(movies, seed), movies),
        Table("actors", ACTOR_COLUMNS, lambda: _actors(actors, seed), actors),
        Table("movie_cast", CAST_COLUMNS, lambda: _cast(movies, actors, seed), 7 * movies // 2),
    ]


def audience(imdb_ids: Sequence[str], seed: int) -> list[Table]:
    """What visitors did with these movies, whose ids are 1, 2 and so on: three comments, two views, two votes each."""
    movies = len(imdb_ids)
    return [
        Table("comments", ["movie_id", "author", "body", "written_at"], lambda: _comments(movies, seed), 3 * movies),
        Table("view_log", ["payload", "viewed_at"], lambda: _views(imdb_ids, seed), 2 * movies),
        Table("votes", ["movie_id", "vote", "voted_at"], lambda: _votes(movies, seed), 2 * movies),
    ]


MOVIE_COLUMNS = ["movie_id", "imdb_id", "title", "year", "country", "rating", "overview", "meta"]
ACTOR_COLUMNS = ["actor_id", "imdb_id", "name", "birth_year"]
CAST_COLUMNS = ["movie_id", "actor_id", "place", "role"]


def overview(rng: random.Random) -> str:
    """A plot in one sentence."""
    hero, other = rng.sample(HEROES, 2)
    return f"A {hero} {rng.choice(DEEDS)} a {other} near the {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}.".lower()


def as_json(value: object) -> str:
    """JSON with sorted keys."""
    return json.dumps(value, sort_keys=True)


def stream(seed: int, name: str) -> random.Random:
    """A stream of random numbers of its own for each table."""
    return random.Random(f"{seed}:{name}")


def _before(rng: random.Random) -> datetime:
    return ANCHOR - timedelta(seconds=rng.randrange(1, _DAYS * 86_400))


def _each_then_any(rng: random.Random, index: int, count: int) -> int:
    """The ids 1 to ``count`` once each, and any of them from there on: none is left out."""
    return index if index <= count else rng.randint(1, count)


def _movies(movies: int, seed: int) -> Rows:
    rng = stream(seed, "movies")
    for movie_id in range(1, movies + 1):
        title = f"The {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} {movie_id}"
        year, country = rng.randint(FIRST_YEAR, LAST_YEAR), rng.choice(COUNTRIES)
        genres = sorted(rng.sample(GENRES, rng.randint(1, 3)))
        rating = Decimal(rng.randint(1, 100)).scaleb(-1)
        meta = as_json({"genres": genres, "runtime": rng.randint(70, 200), "budget": rng.randint(1, 200) * 100_000})
        yield movie_id, f"tt{movie_id:07d}", title, year, country, rating, overview(rng), meta


def _actors(actors: int, seed: int) -> Rows:
    rng = stream(seed, "actors")
    for actor_id in range(1, actors + 1):
        name = f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)} {actor_id}"
        yield actor_id, f"nm{actor_id:07d}", name, rng.randint(1930, 2005)


def _cast(movies: int, actors: int, seed: int) -> Rows:
    """Two to five actors for each movie, and a movie for each actor."""
    rng = stream(seed, "cast")
    for movie_id in range(1, movies + 1):
        lead = _each_then_any(rng, movie_id, actors)
        others = [actor for actor in rng.sample(range(1, actors + 1), rng.randint(1, 4) + 1) if actor != lead]
        for place, actor_id in enumerate([lead, *others[:4]], 1):
            yield movie_id, actor_id, place, f"the {rng.choice(HEROES)}"


def _comments(movies: int, seed: int) -> Rows:
    rng = stream(seed, "comments")
    for index in range(1, 3 * movies + 1):
        body = f"{rng.choice(REMARKS)}, {rng.choice(REMARKS)}"
        yield _each_then_any(rng, index, movies), f"visitor{rng.randint(1, movies)}", body, _before(rng)


def view(rng: random.Random, imdb_id: str) -> str:
    """What is logged when a movie is seen."""
    return as_json({"imdb_id": imdb_id, "device": rng.choice(DEVICES), "seconds": rng.randint(60, 12_000)})


def _views(imdb_ids: Sequence[str], seed: int) -> Rows:
    rng = stream(seed, "views")
    for index in range(1, 2 * len(imdb_ids) + 1):
        yield view(rng, imdb_ids[_each_then_any(rng, index, len(imdb_ids)) - 1]), _before(rng)


def _votes(movies: int, seed: int) -> Rows:
    rng = stream(seed, "votes")
    for index in range(1, 2 * movies + 1):
        yield _each_then_any(rng, index, movies), rng.choice((-1, 1, 1)), _before(rng)
