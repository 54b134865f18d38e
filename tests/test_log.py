"""Following and paging the log, as far as no store takes part."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from perdure.commit import ANY
from perdure.errors import WrongContextError
from perdure.events import StoredEvent, event
from perdure.log import PAGE_SIZE, LogFilter, Page, PageSize, Seen
from perdure.stores.memory import InMemoryEventStore


@event("test.log.noted")
class Noted: ...


def stored(size: int) -> StoredEvent:
    return StoredEvent(
        "note-1", 1, 1, UUID(int=1), "test.log.noted", 1, "x" * size, "{}", datetime(2030, 1, 1, tzinfo=UTC)
    )


async def test_a_subscription_is_followed_by_one_task() -> None:
    store = InMemoryEventStore()
    follower = store.subscribe()
    waiting = asyncio.create_task(anext(follower))
    await asyncio.sleep(0)

    with pytest.raises(WrongContextError, match="one task: make another for each"):
        await anext(follower)

    await store.append_to_stream("note-1", ANY, [Noted(), Noted()])
    assert (await waiting).global_position == 1
    assert (await anext(follower)).global_position == 2


async def test_a_subscription_whose_task_was_cancelled_may_be_followed_by_another() -> None:
    store = InMemoryEventStore()
    follower = store.subscribe()
    waiting = asyncio.create_task(anext(follower))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])

    await store.append_to_stream("note-1", ANY, [Noted()])
    assert (await anext(follower)).global_position == 1


async def test_a_busy_log_in_which_nothing_matches_is_not_looked_at_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = InMemoryEventStore()
    look, looks = store.log_page, list[int]()

    async def counting(from_position: int, limit: int, where: LogFilter, seen: Seen | None = None) -> Page:
        looks.append(from_position)
        return await look(from_position, limit, where, seen)

    monkeypatch.setattr(store, "log_page", counting)
    follower = store.subscribe(category="other")
    follower._PAUSE_AT_HEAD = 3600
    await store.append_to_stream("note-1", ANY, [Noted()])
    waiting = asyncio.create_task(anext(follower))
    for _ in range(10):
        await store.append_to_stream("note-1", ANY, [Noted()])
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert len(looks) == 1


def test_pages_grow_while_events_are_small() -> None:
    size = PageSize()
    limits = [size.limit]
    for _ in range(3):
        size.learn([stored(100)] * size.limit)
        limits.append(size.limit)

    assert limits == sorted(limits)
    assert limits[0] < limits[-1] == PAGE_SIZE


def test_pages_shrink_when_events_are_large_and_never_to_nothing() -> None:
    size = PageSize()
    size.learn([stored(1024 * 1024)])
    assert size.limit == 3
    size.learn([stored(8 * 1024 * 1024)])
    assert size.limit == 1
    size.learn([])
    assert size.limit == 1
    for _ in range(6):
        size.learn([stored(10)])
    assert size.limit == PAGE_SIZE
