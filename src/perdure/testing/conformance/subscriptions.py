"""Subscriptions: first the stored events, then new ones."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.commit import ANY
from perdure.errors import LogDivergedError, WrongContextError
from perdure.events import StoredEvent
from perdure.log import NOW, PAGE_SIZE, PageSize
from perdure.store import EventStore
from perdure.subscription import Subscription
from perdure.testing.conformance.samples import Counted, Noted, notes, positions, texts

PATIENCE = 60.0
"""Seconds after which a missing event counts as lost."""

FILTERS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"category": "note"},
    {"category": "other"},
    {"event_types": [Counted]},
    {"category": "note", "event_types": [Noted]},
    {"category": "none"},
    {"category": ["note", "none"]},
    {"category": ["other", "note"], "event_types": [Counted]},
    {"stream_id": "note-1"},
    {"stream_id": "other-1", "event_types": [Noted]},
)
_FOR_FIXTURES: Final = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow)
"""All examples of a test share one store, and stores may be slow."""


async def take(subscription: Subscription, count: int) -> list[StoredEvent]:
    """Return the next events of a subscription."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(subscription) for _ in range(count)]


class Subscriptions:
    """The part of the suite on subscriptions."""

    async def test_a_follower_catches_up_and_then_is_told(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes("a", "b"))
        follower = store.subscribe()
        assert texts(await take(follower, 2)) == ["a", "b"]

        coming = asyncio.create_task(take(follower, 3))
        await asyncio.sleep(0)
        await store.append_to_stream("note-1", 2, notes("c"))
        await store.append_to_stream("note-2", 0, notes("d", "e"))

        events = await coming
        assert texts(events) == ["c", "d", "e"]
        assert follower.position == events[-1].global_position

    async def test_a_follower_begins_strictly_after_a_position(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes(*"abcd"))
        events = await store.read_all_events()

        for index, stored in enumerate(events[:-1]):
            assert texts(await take(store.subscribe(stored.global_position), 1)) == [events[index + 1].event.text]
            same = store.subscribe(stored.global_position, from_event_id=stored.event_id)
            assert texts(await take(same, 1)) == [events[index + 1].event.text]

    async def test_a_long_log_is_followed_page_by_page(self, store: EventStore) -> None:
        count = PAGE_SIZE + 200
        for n in range(0, count, 100):
            await store.append_to_stream("note-1", n, notes(*range(n, n + 100)))

        assert texts(await take(store.subscribe(), count)) == [str(n) for n in range(count)]

    async def test_a_follower_may_look_for_certain_events(self, store: EventStore) -> None:
        by_category = store.subscribe(category="note")
        by_type = store.subscribe(event_types=[Counted])
        by_both = store.subscribe(category="note", event_types=[Noted, "perdure.conformance.none"])
        coming = [
            asyncio.create_task(take(one, 4 if one is by_category else 2)) for one in (by_category, by_type, by_both)
        ]
        await asyncio.sleep(0)
        for n in range(2):
            await store.append_to_stream("other-1", ANY, notes("other"))
            await store.append_to_stream("note-1", ANY, [*notes(n), Counted(number=n)])

        in_category, of_type, of_both = await asyncio.gather(*coming)

        assert [one.event for one in in_category] == [*notes(0), Counted(number=0), *notes(1), Counted(number=1)]
        assert [one.event.number for one in of_type] == [0, 1]
        assert texts(of_both) == ["0", "1"]

    async def test_a_follower_may_follow_several_categories(self, store: EventStore) -> None:
        follower = store.subscribe(category=["other", "note"])
        coming = asyncio.create_task(take(follower, 4))
        await asyncio.sleep(0)
        for n in range(2):
            for category in ("note", "third", "other"):
                await store.append_to_stream(f"{category}-{n}", ANY, notes(f"{category} {n}"))

        assert texts(await coming) == ["note 0", "other 0", "note 1", "other 1"]

    async def test_a_follower_may_follow_one_stream(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes("a"))
        await store.append_to_stream("note-11", 0, notes("other"))
        follower = store.subscribe(stream_id="note-1")
        coming = asyncio.create_task(take(follower, 3))
        await asyncio.sleep(0)
        for n in range(2):
            await store.append_to_stream("note-11", ANY, notes("other"))
            await store.append_to_stream("note-1", ANY, notes(n))

        assert texts(await coming) == ["a", "0", "1"]

    async def test_a_follower_that_begins_now_gets_only_what_comes(self, store: EventStore) -> None:
        empty = store.subscribe(NOW)
        assert await empty.begin() == 0
        await store.append_to_stream("note-1", 0, notes("a", "b"))
        follower, unprepared = store.subscribe(NOW), store.subscribe(NOW, category="note")
        with pytest.raises(WrongContextError, match="hasn't begun"):
            _ = follower.position
        last = (await store.read_all_events())[-1]

        assert await follower.begin() == last.global_position
        assert (follower.position, follower.event_id) == (last.global_position, last.event_id)
        assert (await unprepared.next_page(patience=0)).events == []
        await store.append_to_stream("note-1", 2, notes("c"))
        assert await follower.begin() == last.global_position

        for one in (follower, unprepared):
            assert texts(await take(one, 1)) == ["c"]
        assert texts(await take(empty, 3)) == ["a", "b", "c"]

    async def test_there_is_no_gap_between_history_and_now(self, store: EventStore) -> None:
        async def append(category: str) -> None:
            for n in range(30):
                await store.append_to_stream(f"{category}-1", n, notes(n))

        appending = [asyncio.create_task(append(category)) for category in ("note", "other", "third")]
        followers = list[Subscription]()
        for _ in range(15):
            followers.append(store.subscribe(NOW))
            start = await followers[-1].begin()
            assert positions(await store.read_all_events())[-1:] >= [start] * (start > 0)
            await asyncio.sleep(0)
        await asyncio.gather(*appending)
        log = positions(await store.read_all_events())

        for follower in followers:
            later = [place for place in log if place > follower.position]
            assert positions(await take(follower, len(later))) == later

    async def test_a_follower_may_begin_at_a_time(self, store: EventStore) -> None:
        for n in range(6):
            await store.append_to_stream(f"{'note' if n % 2 else 'other'}-1", ANY, notes(n))
        log = await store.read_all_events()

        for stored in log:
            recorded = [one for one in log if one.recorded_at >= stored.recorded_at]
            in_stream = [one for one in recorded if one.stream_id == "other-1"]
            assert positions(await take(store.subscribe(stored.recorded_at), len(recorded))) == positions(recorded)
            follower = store.subscribe(stored.recorded_at, stream_id="other-1")
            assert positions(await take(follower, len(in_stream))) == positions(in_stream)
        later = store.subscribe(log[-1].recorded_at + timedelta(microseconds=1))
        never = store.subscribe(datetime.now(UTC) + timedelta(days=1))
        for follower in (later, never):
            assert (await follower.next_page(patience=0)).events == []
        await store.append_to_stream("note-1", ANY, notes("later"))
        assert texts(await take(later, 1)) == ["later"]
        assert (await never.next_page()).events == []
        assert never.position == (await store.read_all_events())[-1].global_position

    async def test_each_follower_sees_all(self, store: EventStore) -> None:
        coming = [asyncio.create_task(take(store.subscribe(), 20)) for _ in range(5)]
        for n in range(20):
            await store.append_to_stream(f"note-{n % 4}", ANY, notes(n))

        seen = [positions(events) for events in await asyncio.gather(*coming)]

        assert seen == [positions(await store.read_all_events())] * 5

    async def test_a_checkpoint_of_another_log_is_told(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes("a", "b"))
        first, last = await store.read_all_events()
        expected = uuid4()

        for position, found in ((first.global_position, first.event_id), (last.global_position + 7, None)):
            with pytest.raises(LogDivergedError) as diverged:
                await take(store.subscribe(position, from_event_id=expected), 1)
            error = diverged.value
            assert (error.global_position, error.expected, error.found) == (position, expected, found)

    @settings(deadline=None, suppress_health_check=_FOR_FIXTURES)
    @given(
        start=st.integers(0, 25),
        lives=st.lists(st.tuples(st.integers(0, 8), st.sampled_from([1, 2, 3, 5, 100])), max_size=5),
        where=st.sampled_from(FILTERS),
    )
    async def test_a_position_is_a_checkpoint(
        self, store: EventStore, start: int, lives: list[tuple[int, int]], where: dict[str, Any]
    ) -> None:
        """Each follower continues at the position of the previous one, and stops somewhere."""
        for category in ("note", "other", "note"):
            await store.append_to_stream(f"{category}-1", ANY, [*notes("a", "b"), Counted(number=1)])
        ids = {one.global_position: one.event_id for one in await store.read_all_events()}
        position = [0, *ids][start % (len(ids) + 1)]
        expected = positions(await store.read_all_events(position, **where))
        delivered: list[int] = []
        for count, size in [*lives, (len(expected), 4)]:
            # If the checkpoint is at an event, it names the event, as it always should.
            follower = store.subscribe(position, from_event_id=ids.get(position), **where)
            follower.page_size = PageSize(size)
            for _ in range(min(count, len(expected) - len(delivered))):
                delivered += positions(await take(follower, 1))
                assert expected[: bisect_right(expected, follower.position)] == delivered
                assert follower.event_id == ids[follower.position]
            position = follower.position

        assert delivered == expected
        follower = store.subscribe(position, **where)
        page = await follower.next_page(patience=0)
        assert (page.events, page.position) == ([], follower.position)
        await store.append_to_stream("note-1", ANY, notes("later"))
        later = await store.subscribe(follower.position, category="note").next_page()
        assert texts(later.events) == ["later"]

    async def test_a_page_begins_with_what_was_not_iterated_over(self, store: EventStore) -> None:
        await store.append_to_stream("note-1", 0, notes(*"abcde"))
        follower = store.subscribe()
        assert texts(await take(follower, 1)) == ["a"]

        first, second = await follower.next_page(2), await follower.next_page(limit=100)
        assert (texts(first.events), texts(second.events)) == (["b", "c"], ["d", "e"])
        assert first.position == first.events[-1].global_position
        assert follower.position == second.position == second.events[-1].global_position

    async def test_a_follower_that_is_cancelled_can_go_on(self, store: EventStore) -> None:
        follower = store.subscribe()
        waiting = asyncio.create_task(anext(follower))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await store.append_to_stream("note-1", 0, notes("a", "b"))

        assert texts(await take(follower, 2)) == ["a", "b"]
