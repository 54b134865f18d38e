"""The feed of a runner: pages of the log, the next of which is read while one is taken."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.commit import ANY
from perdure.errors import StoreUnavailableError
from perdure.events import StoredEvent
from perdure.log import LogFilter, Page, SeenEvent
from perdure.projections.runtime.feed import Feed
from perdure.projections.service import ProjectionService
from perdure.projections.state.segments import Checkpoint, checkpoint_at
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.reader import Reader
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold
from tests.projections.counting import Pages, Visited

BEGINNING = Checkpoint(0, None)
EVENTS = 24


class Log(InMemoryEventStore):
    """A log that tells what was read of it, and reads when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []
        self.failures: list[Exception] = []
        self.may_read = asyncio.Event()
        self.may_read.set()

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        await self.may_read.wait()
        self.read.append(from_position)
        if self.failures:
            raise self.failures.pop()
        return await super().log_page(from_position, limit, where, seen, up_to=up_to)


@pytest.fixture
async def log() -> Log:
    return await filled()


async def filled() -> Log:
    log = Log()
    await log.append_to_stream("site-1", ANY, [Visited(page="a", visitor="x") for _ in range(EVENTS)])
    return log


async def all_events(log: Log) -> list[StoredEvent]:
    return (await InMemoryEventStore.log_page(log, 0, EVENTS, LogFilter())).events


def positions(events: Sequence[StoredEvent]) -> list[int]:
    return [one.global_position for one in events]


async def settled() -> None:
    """Let whatever runs go on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_next_page_is_read_while_one_is_taken(log: Log) -> None:
    feed = Feed(log)
    page = await feed.after(BEGINNING, 10, None, 0)
    await settled()
    assert log.read == [0, 10]

    assert positions(await feed.after(checkpoint_at(page[-1]), 10, None, 0)) == list(range(11, 21))
    await settled()
    assert log.read == [0, 10, 20]


async def test_nothing_is_read_ahead_of_a_page_that_is_not_full(log: Log) -> None:
    await Feed(log).after(BEGINNING, EVENTS + 1, None, 0)
    await settled()

    assert log.read == [0]


async def test_what_could_not_be_read_ahead_is_read_when_it_is_asked_for(log: Log) -> None:
    feed = Feed(log)
    page = await feed.after(BEGINNING, 10, None, 0)
    log.failures = [StoreUnavailableError("it is down")]
    await settled()
    assert log.read == [0, 10]

    log.failures = []
    page = await feed.after(checkpoint_at(page[-1]), 10, None, 0)
    assert positions(page) == list(range(11, 21))

    log.failures = [StoreUnavailableError("it is down")] * 2
    await settled()
    with pytest.raises(StoreUnavailableError):
        await feed.after(checkpoint_at(page[-1]), 10, None, 0)


@pytest.mark.parametrize("is_closed", [True, False])
async def test_reading_ahead_ends_with_the_feed(log: Log, is_closed: bool) -> None:
    feed = Feed(log)
    await feed.after(BEGINNING, 10, None, 0)
    log.may_read.clear()
    await settled()
    if is_closed:
        await feed.close(5)
    else:
        feed.forget()
        await settled()

    assert len(asyncio.all_tasks()) == 1  # this one
    log.may_read.set()
    assert positions(await feed.after(BEGINNING, 10, None, 0)) == list(range(1, 11))


@given(asked=st.lists(st.tuples(st.integers(0, EVENTS), st.integers(1, 8), st.none() | st.integers(0, EVENTS))))
async def test_whatever_is_asked_for_comes_in_order_and_without_gap(asked: list[tuple[int, int, int | None]]) -> None:
    log = await filled()
    events, feed = await all_events(log), Feed(log)
    for number, (position, limit, upto) in enumerate(asked):
        checkpoint = checkpoint_at(events[position - 1]) if position else BEGINNING
        found = await feed.after(checkpoint, limit, upto, 0)
        if number % 2:
            await settled()

        wanted = [one for one in events[position:][:limit] if upto is None or one.global_position <= upto]
        assert positions(found) == positions(wanted)[: len(found)]
        assert bool(found) == bool(wanted)
    await feed.close(5)


async def test_what_was_read_from_a_server_that_had_more_is_never_written(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a server fails after a page was read ahead, and the one that takes over lacks the end of its log."""
    read, lost = Reader.log_page, ["lost"]

    async def read_what_is_lost(self: Reader, *arguments: Any, up_to: int = 0) -> Page:
        page = await read(self, *arguments, up_to=up_to)
        if lost and page.events:
            data = msgspec.json.encode(Visited(page=lost.pop(), visitor="x")).decode()
            page.events[-1] = msgspec.structs.replace(page.events[-1], event_id=UUID(int=1), event_data=data)
        return page

    saved = await store.append_to_stream("site-1", ANY, [Visited(page=page, visitor="x") for page in "abc"])
    monkeypatch.setattr(Reader, "log_page", read_what_is_lost)
    async with ProjectionService(store, [Pages()]) as service:
        await service.wait_for("pages", saved, timeout=30)

    assert not lost
    assert await check_against_fold(store, database_url, Pages()) == saved.global_position
