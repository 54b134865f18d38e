from datetime import UTC, datetime, timedelta

import pytest

from examples.streaming.events import ContentAdded, ContentRated, ContentWatched
from examples.streaming.popularity import ContentPopularity, ContentRow
from examples.streaming.trend_score import decayed_watches
from perdure import NewEvent
from perdure.testing.projections import fold

AT = datetime(2026, 3, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def added(*genres: str, at: datetime = AT) -> NewEvent:
    return NewEvent(ContentAdded(content_id="9", title="Heat", genres=list(genres)), timestamp=at)


def watched(user_id: str = "123", completion: float = 50.0, at: datetime = AT) -> NewEvent:
    event = ContentWatched(
        content_id="9", user_id=user_id, watch_duration_seconds=600, completion_percentage=completion, genre="Crime"
    )
    return NewEvent(event, timestamp=at)


def rated(rating: float, at: datetime = AT) -> NewEvent:
    return NewEvent(ContentRated(content_id="9", user_id="123", rating=rating), timestamp=at)


def title(*events: NewEvent) -> ContentRow:
    return fold(ContentPopularity(), events)["9"]


@pytest.mark.parametrize(("genres", "genre"), [(("Crime", "Drama"), "Crime"), ((), "unknown")])
def test_a_title_is_added(genres: tuple[str, ...], genre: str) -> None:
    assert title(added(*genres)) == ContentRow(content_id="9", title="Heat", genre=genre, last_updated=AT)


@pytest.mark.parametrize("event", [watched(), rated(3.0)])
def test_any_event_makes_the_row(event: NewEvent) -> None:
    row = title(event)

    assert (row.title, row.genre) == (None, None)
    assert title(event, added("Crime")).title == "Heat"


def test_watches_are_summed_up() -> None:
    row = title(watched(completion=50), watched(completion=100), watched(completion=0))

    assert (row.total_views, row.total_watch_time, row.average_completion_rate) == (3, 1800, 50.0)


def test_viewers_are_counted_once() -> None:
    assert title(watched("1"), watched("2"), watched("1")).unique_viewers == 2


def test_ratings_are_averaged() -> None:
    row = title(rated(4.0), rated(2.5))

    assert (row.rating_average, row.rating_count) == (3.25, 2)
    assert title(added()).rating_average is None


def test_newer_watches_weigh_more() -> None:
    row = title(watched(completion=50, at=AT), watched(completion=100, at=AT + WEEK))

    assert row.trending_score is not None
    assert decayed_watches(row.trending_score, AT + WEEK) == pytest.approx(0.5 / 2 + 1)


def test_there_is_no_trend_until_somebody_watches_a_bit() -> None:
    assert title(added()).trending_score is None
    assert title(watched(completion=0)).trending_score is None


def test_the_latest_event_counts_not_the_last_to_arrive() -> None:
    assert title(watched(at=AT + WEEK), rated(3.0, at=AT)).last_updated == AT + WEEK
