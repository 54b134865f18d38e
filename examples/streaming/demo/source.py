"""The history of a service in the form of the MovieLens files: titles, ratings and tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

UNKNOWN_GENRE = "unknown"


class Title(NamedTuple):
    movie_id: int
    name: str
    genres: tuple[str, ...]


class Rating(NamedTuple):
    user_id: int
    movie_id: int
    stars: float
    """Stars, from 0.5 to 5."""
    seconds: int
    """Seconds since 1970."""


class Tag(NamedTuple):
    user_id: int
    movie_id: int
    seconds: int


@dataclass(frozen=True)
class Source:
    name: str
    titles: Mapping[int, Title]
    ratings: Sequence[Rating]
    tags: Sequence[Tag]


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
