"""The read model `content_popularity`: the figures of each title. Every event costs the same."""

from datetime import datetime

import msgspec

from examples.streaming.events import ContentAdded, ContentRated, ContentWatched
from examples.streaming.trend_score import with_watch
from perdure import ChildRows, StoredEvent, TableProjection, child_table, handles


class ContentRow(msgspec.Struct, kw_only=True):
    content_id: str
    title: str | None = None
    genre: str | None = None
    """The first genre, or "unknown" if there is none. Null, like the title, until the content is added."""
    total_views: int = 0
    total_watch_time: int = 0
    """In seconds."""
    average_completion_rate: float | None = None
    """In percent. Null before the first view."""
    unique_viewers: int = 0
    rating_average: float | None = None
    """Null before the first rating."""
    rating_count: int = 0
    trending_score: float | None = None
    """See `trend_score`. Null before the first view."""
    last_updated: datetime
    completion_sum: float = 0.0
    """The sums behind the averages: with a sum and a count, one more value can be added."""
    rating_sum: float = 0.0


class Viewer(msgspec.Struct):
    """A user that has watched a title. The existence of the row is the information."""

    content_id: str
    user_id: str


class ContentPopularity(TableProjection[ContentRow], table="content_popularity", key="content_id", version=1):
    """Every event of a title creates its row, because other services don't wait until the title is added."""

    viewers = child_table(Viewer, table="content_popularity_viewers", key=("content_id", "user_id"))

    @handles
    def added(self, event: ContentAdded, row: ContentRow | None, at: StoredEvent) -> ContentRow:
        row = _touched(row, event.content_id, at)
        row.title = event.title
        row.genre = event.genres[0] if event.genres else "unknown"
        return row

    @handles
    def watched(
        self, event: ContentWatched, row: ContentRow | None, at: StoredEvent, viewers: ChildRows[Viewer]
    ) -> ContentRow:
        row = _touched(row, event.content_id, at)
        row.total_views += 1
        row.total_watch_time += event.watch_duration_seconds
        row.completion_sum += event.completion_percentage
        row.average_completion_rate = row.completion_sum / row.total_views
        row.trending_score = with_watch(row.trending_score, event.completion_percentage, at.timestamp)
        if event.user_id not in viewers:
            viewers.put(Viewer(event.content_id, event.user_id))
            row.unique_viewers += 1
        return row

    @handles
    def rated(self, event: ContentRated, row: ContentRow | None, at: StoredEvent) -> ContentRow:
        row = _touched(row, event.content_id, at)
        row.rating_count += 1
        row.rating_sum += event.rating
        row.rating_average = row.rating_sum / row.rating_count
        return row


def _touched(row: ContentRow | None, content_id: str, at: StoredEvent) -> ContentRow:
    if row is None:
        return ContentRow(content_id=content_id, last_updated=at.timestamp)
    row.last_updated = max(row.last_updated, at.timestamp)
    return row
