"""Following and paging the log, as far as no store takes part."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from perdure.commit import ANY
from perdure.errors import StoreUnavailableError, WrongContextError
from perdure.events import StoredEvent, event
from perdure.log import PAGE_SIZE, LogFilter, Page, PageSize, SeenEvent
from perdure.stores.memory import InMemoryEventStore
from perdure.subscription import Subscription


@event("test.log.noted")
class Noted: ...


def stored(size: int, metadata: int = 2) -> StoredEvent:
    return StoredEvent(
        "note-1", 1, 1, UUID(int=1), "test.log.noted", 1, "x" * size, "x" * metadata, datetime(2030, 1, 1, tzinfo=UTC)
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

    async def counting(from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None) -> Page:
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


class Looks:
    """What a log is asked for, each look at its pages told, and held up or refused as a test wants it."""

    def __init__(self, store: InMemoryEventStore) -> None:
        self.positions: list[int] = []
        self.held_from: int | None = None
        """From which position on no look is answered until `let_go`."""
        self.errors: dict[int, Exception] = {}
        """What the next look from a position raises."""
        self._gone_on = asyncio.Event()
        self._look = store.log_page

    def let_go(self) -> None:
        self.held_from = None
        self._gone_on.set()

    async def __call__(self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None) -> Page:
        self.positions.append(from_position)
        if self.held_from is not None and from_position >= self.held_from:
            await self._gone_on.wait()
        if error := self.errors.pop(from_position, None):
            raise error
        return await self._look(from_position, limit, where, seen)


@pytest.fixture
async def busy_log() -> InMemoryEventStore:
    """A log of a full first page and some more."""
    store = InMemoryEventStore()
    await store.append_to_stream("note-1", ANY, [Noted() for _ in range(PageSize().limit + 10)])
    return store


@pytest.fixture
def looks(busy_log: InMemoryEventStore, monkeypatch: pytest.MonkeyPatch) -> Looks:
    looks = Looks(busy_log)
    monkeypatch.setattr(busy_log, "log_page", looks)
    return looks


async def positions_of(follower: Subscription, count: int) -> list[int]:
    return [(await anext(follower)).global_position for _ in range(count)]


async def test_the_next_page_is_asked_for_before_the_events_of_a_full_one_are_handled(
    busy_log: InMemoryEventStore, looks: Looks
) -> None:
    full = PageSize().limit
    follower = busy_log.subscribe()

    await anext(follower)
    assert looks.positions == [0, full]

    assert await positions_of(follower, full + 9) == [*range(2, full + 11)]
    assert looks.positions == [0, full]


async def test_nothing_is_asked_for_behind_a_page_that_is_not_full(busy_log: InMemoryEventStore, looks: Looks) -> None:
    full = PageSize().limit
    follower = busy_log.subscribe(full)

    await anext(follower)
    await asyncio.sleep(0)

    assert looks.positions == [full]


@pytest.mark.parametrize("ticks", range(6))
async def test_nothing_is_lost_when_the_task_is_cancelled_that_waits_for_a_page_read_ahead(
    busy_log: InMemoryEventStore, looks: Looks, ticks: int
) -> None:
    """At each moment: before the page is there, while it arrives, when it has just been handed on."""
    full = PageSize().limit
    looks.held_from = full
    follower = busy_log.subscribe()
    found = await positions_of(follower, full)
    waiting = asyncio.create_task(anext(follower))
    await asyncio.sleep(0)
    looks.let_go()
    for _ in range(ticks):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    if not waiting.cancelled():
        found.append(waiting.result().global_position)

    found += await positions_of(follower, full + 10 - len(found))
    assert found == [*range(1, full + 11)]


async def test_what_could_not_be_read_ahead_is_read_when_it_is_asked_for(
    busy_log: InMemoryEventStore, looks: Looks
) -> None:
    full = PageSize().limit
    looks.errors[full] = StoreUnavailableError("the server went away")
    follower = busy_log.subscribe()

    assert await positions_of(follower, full + 10) == [*range(1, full + 11)]
    assert looks.positions == [0, full, full]


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
    size.learn([stored(1024 * 1024, metadata=1024 * 1024)])
    assert size.limit == 1
    size.learn([stored(8 * 1024 * 1024)])
    assert size.limit == 1
    size.learn([])
    assert size.limit == 1
    for _ in range(6):
        size.learn([stored(10)])
    assert size.limit == PAGE_SIZE
