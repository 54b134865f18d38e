"""Reads a folder of MovieLens files: movies.csv, ratings.csv and tags.csv."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from examples.streaming.demo.source import Rating, Source, Tag, Title

NO_GENRES = "(no genres listed)"

T = TypeVar("T")


class SourceError(Exception):
    """A file is missing or has invalid content."""


def read_movielens(folder: Path) -> Source:
    """Read the three files of a folder. Raise SourceError, with file and line, if that fails."""
    titles = _read(folder / "movies.csv", "movieId,title,genres", _title)
    ratings = _read(folder / "ratings.csv", "userId,movieId,rating,timestamp", _rating)
    tags = _read(folder / "tags.csv", "userId,movieId,tag,timestamp", _tag)
    if not ratings:
        raise SourceError(f"{folder / 'ratings.csv'} has no ratings, so there is nothing to replay")
    return Source(folder.resolve().name, {title.movie_id: title for title in titles}, ratings, tags)


def _title(movie_id: str, name: str, genres: str) -> Title:
    return Title(int(movie_id), name, () if genres == NO_GENRES else tuple(genres.split("|")))


def _rating(user_id: str, movie_id: str, stars: str, seconds: str) -> Rating:
    return Rating(int(user_id), int(movie_id), float(stars), int(seconds))


def _tag(user_id: str, movie_id: str, _: str, seconds: str) -> Tag:
    return Tag(int(user_id), int(movie_id), int(seconds))


def _read(path: Path, header: str, make: Callable[..., T]) -> list[T]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            if next(lines, None) != header.split(","):
                raise SourceError(f"{path} doesn't begin with the line {header!r}: is it a MovieLens file?")
            return [_made(make, line, f"{path}, line {lines.line_num}") for line in lines]
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} isn't in UTF-8: {error}") from error


def _made(make: Callable[..., T], line: list[str], place: str) -> T:
    try:
        return make(*line)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{place} can't be understood: {line}") from error
