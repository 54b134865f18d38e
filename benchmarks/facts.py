"""What is written and read: views of titles, as the reference application stores them. About 200 bytes each."""

from collections.abc import Iterable
from typing import Final, NamedTuple
from uuid import UUID

from examples.streaming.events import ContentWatched

EVENT_TYPE = "content.watched"
HEADERS: Final = {"request_id": "0af7651916cd43dd8448eb211c80319c", "host": "web-17.example.com"}
"""The headers of an event that has some."""
_GENRES = ("Adventure", "Comedy", "Documentary", "Drama", "Science-Fiction")


class Append(NamedTuple):
    """Events to be written behind a version of a stream, and nowhere else."""

    stream_id: str
    expected_version: int
    events: list[ContentWatched]


class Identified(NamedTuple):
    """An append of one event with an id that its caller chose, whatever the version of the stream is."""

    append: Append
    event_id: UUID


class Stored(NamedTuple):
    """An event as it was found in a store."""

    stream_id: str
    stream_version: int
    event: ContentWatched


class Totals(NamedTuple):
    """What events come to: enough to see that none is missing, and that each was decoded."""

    views: int = 0
    seconds: int = 0

    def and_of(self, event: ContentWatched) -> "Totals":
        return Totals(self.views + 1, self.seconds + event.watch_duration_seconds)


def watched(content_id: str, number: int) -> ContentWatched:
    """The event of that number: no two are alike."""
    return ContentWatched(
        content_id=content_id,
        user_id=f"user-{number:012d}",
        watch_duration_seconds=number * 7919 % 10_000,
        completion_percentage=number % 201 / 2,
        genre=_GENRES[number % len(_GENRES)],
    )


def totals(events: Iterable[ContentWatched]) -> Totals:
    seconds = [event.watch_duration_seconds for event in events]
    return Totals(len(seconds), sum(seconds))


def totals_by_title(events: Iterable[ContentWatched]) -> dict[str, Totals]:
    found: dict[str, Totals] = {}
    for event in events:
        found[event.content_id] = found.get(event.content_id, Totals()).and_of(event)
    return found
