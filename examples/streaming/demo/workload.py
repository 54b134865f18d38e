"""The actions of the users of a source, in the order of time: registrations and watches.

Each rating is a watch and a rating at the same time; each tag is one more watch. Users with ratings register before
their first one. Users with only tags never register.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from examples.streaming.demo.source import UNKNOWN_GENRE, Rating, Source, moment

RATINGS_THAT_SHOW_TASTE = 5


class Watch(NamedTuple):
    seconds: int
    user_id: int
    movie_id: int
    stars: float | None
    """None for a tag."""

    @property
    def completion_percentage(self) -> float:
        return 100.0 if self.stars is None else self.stars * 20

    @property
    def duration_seconds(self) -> int:
        return 6000 if self.stars is None else round(self.stars * 1200)


@dataclass(frozen=True)
class Viewer:
    user_id: int
    joined_at: datetime
    preferences: list[str]

    @property
    def goes_premium(self) -> bool:
        return self.user_id % 3 == 0

    @property
    def is_of_two_minds(self) -> bool:
        """Whether the user subscribes and changes preferences at the same time, on two devices."""
        return self.user_id % 5 == 0

    @property
    def events(self) -> int:
        """The number of events that the account starts with."""
        return 1 + self.goes_premium + 2 * self.is_of_two_minds


@dataclass(frozen=True)
class Workload:
    source: Source
    opening: datetime
    """When all titles are added: just before the first action."""
    viewers: dict[int, Viewer]
    watches: list[Watch]

    @property
    def events(self) -> int:
        accounts = sum(viewer.events for viewer in self.viewers.values())
        return len(self.source.titles) + accounts + len(self.watches) + len(self.source.ratings)


def plan(source: Source) -> Workload:
    """Return the workload of a source."""
    watches = [Watch(one.seconds, one.user_id, one.movie_id, one.stars) for one in source.ratings]
    watches += [Watch(one.seconds, one.user_id, one.movie_id, None) for one in source.tags]
    watches.sort(key=lambda watch: (watch.seconds, watch.user_id, watch.movie_id))
    first: dict[int, int] = {}
    for watch in watches:
        first.setdefault(watch.user_id, watch.seconds)
    taste = _tastes(source)
    viewers = {user_id: Viewer(user_id, _just_before(first[user_id]), taste[user_id]) for user_id in taste}
    return Workload(source, _just_before(watches[0].seconds if watches else 1), viewers, watches)


def genre_of(source: Source, movie_id: int) -> str:
    """Return the first genre of a title."""
    title = source.titles.get(movie_id)
    return title.genres[0] if title and title.genres else UNKNOWN_GENRE


def _just_before(seconds: int) -> datetime:
    # Sources count in seconds, so no other action is in between.
    return moment(seconds - 1)


def _tastes(source: Source) -> dict[int, list[str]]:
    """Return the distinct genres of the earliest ratings of each user with ratings."""
    ratings: dict[int, list[Rating]] = defaultdict(list)
    for rating in source.ratings:
        ratings[rating.user_id].append(rating)
    return {user_id: _distinct(_genres_of_earliest(source, own)) for user_id, own in ratings.items()}


def _genres_of_earliest(source: Source, ratings: list[Rating]) -> Iterable[str]:
    earliest = sorted(ratings, key=lambda rating: (rating.seconds, rating.movie_id))[:RATINGS_THAT_SHOW_TASTE]
    return (genre_of(source, rating.movie_id) for rating in earliest)


def _distinct(genres: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(genres))
