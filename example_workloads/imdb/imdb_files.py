"""The public IMDb files as rows: tab-separated, ``\\N`` for null, plain or gzipped.

They say nothing of countries, plots and visitors: those are made up, as for generated movies.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import IO

from imdb_data import ACTOR_COLUMNS, CAST_COLUMNS, COUNTRIES, MOVIE_COLUMNS, Rows, Table, as_json, overview, stream

FILES = ("title.basics.tsv", "title.ratings.tsv", "name.basics.tsv", "title.principals.tsv")
NULL = r"\N"

Line = Mapping[str, str | None]


def missing_files(folder: Path) -> list[str]:
    """Those of the four files that the folder has neither plain nor gzipped."""
    return [name for name in FILES if not any(path.is_file() for path in _candidates(folder, name))]


def tables(folder: Path, most_movies: int, seed: int) -> list[Table]:
    """The first ``most_movies`` movies that have a year, and the actors and actresses who played in them."""
    movies = [line for line, _ in zip(_feature_films(folder), range(most_movies), strict=False)]
    movie_ids = {str(line["tconst"]): number for number, line in enumerate(movies, 1)}
    ratings = {str(line["tconst"]): line for line in read(folder, "title.ratings.tsv") if line["tconst"] in movie_ids}
    wanted = {line["nconst"] for line in _players(folder, movie_ids)}
    actors = [line for line in read(folder, "name.basics.tsv") if line["nconst"] in wanted and line["primaryName"]]
    actor_ids = {str(line["nconst"]): number for number, line in enumerate(actors, 1)}
    return [
        Table("movies", MOVIE_COLUMNS, lambda: _movies(movies, ratings, stream(seed, "movies")), len(movies)),
        Table("actors", ACTOR_COLUMNS, lambda: _actors(actors), len(actors)),
        Table("movie_cast", CAST_COLUMNS, lambda: _cast(folder, movie_ids, actor_ids), 4 * len(movies)),
    ]


def read(folder: Path, name: str) -> Iterator[Line]:
    """The lines of a file by the names in its first line. Raises ValueError for one that has not as many values."""
    path = next(path for path in _candidates(folder, name) if path.is_file())
    with _opened(path) as file:
        names = next(file).rstrip("\n").split("\t")
        for number, text in enumerate(file, 2):
            values = text.rstrip("\n").split("\t")
            if len(values) != len(names):
                raise ValueError(f"{path}:{number}: {len(values)} values instead of {len(names)}")
            yield {key: None if value == NULL else value for key, value in zip(names, values, strict=True)}


def _candidates(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / name, folder / f"{name}.gz"


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")
    return path.open(encoding="utf-8", newline="\n")


def _feature_films(folder: Path) -> Iterator[Line]:
    for line in read(folder, "title.basics.tsv"):
        if line["titleType"] == "movie" and line["isAdult"] == "0" and line["startYear"] and line["primaryTitle"]:
            yield line


def _players(folder: Path, movie_ids: Mapping[str, int]) -> Iterator[Line]:
    for line in read(folder, "title.principals.tsv"):
        if line["tconst"] in movie_ids and line["category"] in ("actor", "actress"):
            yield line


def _movies(movies: list[Line], ratings: Mapping[str, Line], rng: random.Random) -> Rows:
    for movie_id, line in enumerate(movies, 1):
        rated = ratings.get(str(line["tconst"]), {})
        genres, runtime = line["genres"], line["runtimeMinutes"]
        meta = {
            "genres": genres.split(",") if genres else [],
            "runtime": int(runtime) if runtime else None,
            "imdb_votes": int(rated.get("numVotes") or 0),
        }
        average = rated.get("averageRating")
        rating = Decimal(average) if average else None
        title, year = line["primaryTitle"], int(line["startYear"] or 0)
        yield movie_id, line["tconst"], title, year, rng.choice(COUNTRIES), rating, overview(rng), as_json(meta)


def _actors(actors: list[Line]) -> Rows:
    for actor_id, line in enumerate(actors, 1):
        born = line["birthYear"]
        yield actor_id, line["nconst"], line["primaryName"], int(born) if born else None


def _cast(folder: Path, movie_ids: Mapping[str, int], actor_ids: Mapping[str, int]) -> Rows:
    """Each actor once in a movie, however many roles; who is not among the names is left out."""
    seen: set[tuple[int, int]] = set()
    for line in _players(folder, movie_ids):
        movie_id, actor_id = movie_ids[str(line["tconst"])], actor_ids.get(str(line["nconst"]))
        if actor_id is None or (movie_id, actor_id) in seen:
            continue
        seen.add((movie_id, actor_id))
        yield movie_id, actor_id, int(line["ordering"] or 0), _role(line["characters"])


def _role(characters: str | None) -> str | None:
    """The file has a JSON list of names."""
    return ", ".join(json.loads(characters)) if characters else None
