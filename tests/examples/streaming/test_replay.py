from datetime import UTC, datetime

import pytest

from examples.streaming import app
from examples.streaming.demo.replay import Replay
from examples.streaming.demo.source import Rating, Source
from examples.streaming.demo.workload import plan
from examples.streaming.events import ContentAdded, ContentRated, ContentWatched, UserRegistered, UserSubscribed
from perdure import EventStore, InMemoryEventStore, PostgreSQLEventStore, StoreClosedError
from tests.examples.streaming.sources import DAY, SMALL, TITLES


async def replayed(source: Source, store: EventStore, concurrency: int = 8) -> Replay:
    async with app.connect(store):
        replay = Replay(plan(source), app, concurrency=concurrency)
        await replay.run()
    return replay


async def types_of(store: EventStore, stream_id: str) -> list[str]:
    return [stored.event_type for stored in await store.read_stream(stream_id)]


async def test_titles_are_added_when_the_service_opens() -> None:
    store = InMemoryEventStore()
    await replayed(SMALL, store)
    (stored,) = await store.read_stream("content-4")

    assert stored.event == ContentAdded(content_id="4", title="Never Watched", genres=["War"])
    assert stored.timestamp == datetime.fromtimestamp(3 * DAY - 1, UTC)


async def test_a_rating_is_a_watch_and_a_rating_at_its_own_time() -> None:
    store = InMemoryEventStore()
    await replayed(SMALL, store)
    watched, rated = await store.read_stream("content-3", from_version=1)

    assert watched.event == ContentWatched(
        content_id="3", user_id="1", watch_duration_seconds=3000, completion_percentage=50.0, genre="unknown"
    )
    assert rated.event == ContentRated(content_id="3", user_id="1", rating=2.5)
    assert watched.timestamp == rated.timestamp == datetime.fromtimestamp(14 * DAY, UTC)


async def test_a_tag_is_one_more_watch() -> None:
    store = InMemoryEventStore()
    await replayed(SMALL, store)

    assert await types_of(store, "content-2") == [
        "content.added",
        "content.watched",
        "content.watched",
        "content.rated",
    ]


async def test_a_user_is_registered_before_anything_else_happens_to_them() -> None:
    store = InMemoryEventStore()
    await replayed(SMALL, store)
    first: dict[str, object] = {}
    for stored in await store.read_all_events():
        if not isinstance(stored.event, ContentAdded):
            first.setdefault(stored.event.user_id, stored.event)

    assert [user_id for user_id, event in first.items() if not isinstance(event, UserRegistered)] == ["7"]
    assert await store.stream_version("user-7") == 0


async def test_commands_at_the_same_moment_both_take_effect(store: PostgreSQLEventStore) -> None:
    source = Source("", TITLES, [Rating(user_id, 1, 3.0, DAY) for user_id in range(5, 101, 5)], [])
    replay = await replayed(source, store, concurrency=64)

    assert replay.users.conflicts_retried == 20
    for user_id in range(5, 101, 5):
        types = await types_of(store, f"user-{user_id}")
        assert sorted(types[-2:]) == ["user.preferences_updated", "user.subscribed"]
        assert len(types) == (4 if user_id % 3 == 0 else 3)


async def test_who_goes_premium_first_ends_as_basic() -> None:
    store = InMemoryEventStore()
    await replayed(SMALL, store)
    plans = [
        stored.event.plan for stored in await store.read_stream("user-15") if isinstance(stored.event, UserSubscribed)
    ]

    assert plans == ["premium", "basic"]


async def test_it_counts_what_it_appended() -> None:
    store = InMemoryEventStore()
    replay = await replayed(SMALL, store)
    log = await store.read_all_events()

    assert replay.events == plan(SMALL).events == len(log)
    assert replay.position == log[-1].global_position


async def test_a_failure_comes_out_as_it_is() -> None:
    async with app.connect(InMemoryEventStore()) as store:
        replay = Replay(plan(SMALL), app, concurrency=8)
        await store.close()

        with pytest.raises(StoreClosedError):
            await replay.run()
