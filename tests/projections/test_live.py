"""Rows folded on demand: now, and at any point of the past, from any store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure.commit import ANY
from perdure.errors import (
    InvalidArgumentError,
    ProjectionDefinitionError,
    ProjectionTimeoutError,
)
from perdure.events import StoredEvent, event, handles
from perdure.log import LogFilter
from perdure.projection import ProjectionTransaction, SQLProjection, TableProjection
from perdure.projections.live import LiveProjection
from perdure.store import EventStore
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold, fold_tables
from tests.projections.counting import Broken, Closed, Ignored, Pages, Visited
from tests.projections.test_exactly_once import drawn_events


@event("test.live.renamed")
class Renamed:
    name: str


@event("test.live.retired")
class Retired:
    pass


@dataclass
class Named:
    id: str
    name: str
    changes: int = 0


class Names(TableProjection[Named], table="names", key="id", by_stream="person"):
    @handles
    def renamed(self, event: Renamed, row: Named | None, at: StoredEvent) -> Named:
        return Named(at.stream_id.removeprefix("person-"), event.name, row.changes + 1 if row else 0)

    @handles
    def retired(self, event: Retired, row: Named | None) -> Named | None:
        return None


@pytest.fixture(params=["memory", "postgresql"])
async def any_store(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield InMemoryEventStore()
        return
    async with PostgreSQLEventStore(database_url) as store:
        yield store


async def test_rows_are_those_that_the_table_would_show_at_every_position(any_store: EventStore) -> None:
    await any_store.append_to_stream("x-1", ANY, drawn_events(30, seed=4))
    events = await any_store.read_all_events()
    live = LiveProjection(any_store, Pages())
    for position in range(len(events) + 1):
        tables = fold_tables(Pages(), events[:position])
        assert {row.page: row for row in await live.query(at_position=position)} == tables["pages"]
        for page in "abcd":
            assert await live.get(page, at_position=position) == tables["pages"].get(page)
            children = [row for key, row in tables["pages_visitors"].items() if key[0] == page]
            assert await live.child_rows(Pages.visitors, page, at_position=position) == children

    assert await live.query() == list(fold(Pages(), events).values())
    assert await live.query(lambda row: row.visits > 5) == [r for r in fold(Pages(), events).values() if r.visits > 5]


async def test_the_past_is_what_was_recorded_by_then(any_store: EventStore) -> None:
    live = LiveProjection(any_store, Pages())
    times: list[datetime] = []
    for visits in range(1, 4):
        await any_store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
        (stored,) = await any_store.read_stream("x-1", visits - 1)
        times.append(stored.recorded_at)
        await asyncio.sleep(0.002)

    counts = [(await live.get("a", at_time=time)) for time in times]
    assert [row.visits for row in counts if row] == [1, 2, 3]
    assert await live.get("a", at_time=times[0] - timedelta(microseconds=1)) is None
    assert await live.query(at_time=datetime(2001, 1, 1, tzinfo=UTC)) == []
    (row,) = await live.query(at_time=times[2], at_position=2)
    assert row.visits == 2, "the earlier of the two counts"


async def test_a_key_that_is_a_stream_is_read_from_its_stream(
    any_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in ("1", "2"):
        await any_store.append_to_stream(f"person-{person}", 0, [Renamed(name="a"), Ignored(page="x")])
    await any_store.append_to_stream("animal-1", 0, [Renamed(name="rex")])
    saved = await any_store.append_to_stream("person-1", 2, [Renamed(name="b"), Retired(), Renamed(name="c")])
    live = LiveProjection(any_store, Names())
    assert {row.id: row.name for row in await live.query()} == {"1": "c", "2": "a"}

    async def read_the_log(*_: Any) -> None:
        raise AssertionError("it needn't")

    monkeypatch.setattr(any_store, "log_page", read_the_log)
    states = [await live.get("1", at_version=version) for version in range(7)]

    a, b = Named("1", "a"), Named("1", "b", 1)
    assert states == [None, a, a, b, None, Named("1", "c"), Named("1", "c")]
    assert await live.get("1", at_position=saved.global_positions[0]) == b
    assert await live.get("3") is None
    assert await live.get("2", at_time=datetime(2001, 1, 1, tzinfo=UTC)) is None


async def test_only_the_events_that_are_handled_are_read(
    any_store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await any_store.append_to_stream("x-1", 0, [Ignored(page="a"), Visited(page="a", visitor="x"), Closed(page="b")])
    log_page, read = any_store.log_page, []

    async def noting(position: int, limit: int, where: LogFilter) -> Any:
        page = await log_page(position, limit, where)
        read.extend([stored.event_type for stored in page.events])
        return page

    monkeypatch.setattr(any_store, "log_page", noting)

    assert [row.visits for row in await LiveProjection(any_store, Pages()).query()] == [1]
    assert read == ["test.projections.visited", "test.projections.closed"]


async def test_what_a_handler_raises_is_heard(any_store: EventStore) -> None:
    await any_store.append_to_stream("x-1", 0, [Broken(page="a")])

    with pytest.raises(RuntimeError, match="broken as asked"):
        await LiveProjection(any_store, Pages(is_broken=True)).get("a")
    assert await LiveProjection(any_store, Pages(is_broken=True)).get("b") is None


async def test_a_position_that_others_hold_back_is_waited_for(store: PostgreSQLEventStore) -> None:
    live = LiveProjection(store, Pages())
    async with store.transaction() as tx:
        await store.append_to_stream("x-2", 0, [Visited(page="a", visitor="x")], tx=tx)
        saved = await store.append_to_stream("x-1", 0, [Visited(page="a", visitor="y")])
        assert await live.get("a") is None, "as far as the log can be read"
        with pytest.raises(ProjectionTimeoutError, match="under way"):
            await LiveProjection(store, Pages(), timeout=0.05).get("a", at_position=saved.global_position)
        asking = asyncio.create_task(live.get("a", at_position=saved.global_position))
    row = await asking

    assert row is not None
    assert row.visits == 2


async def test_a_position_beyond_the_end_is_the_end(any_store: EventStore) -> None:
    await any_store.append_to_stream("x-1", 0, [Visited(page="a", visitor="x")])

    assert len(await LiveProjection(any_store, Pages()).query(at_position=1000)) == 1


async def test_questions_that_make_no_sense_are_refused() -> None:
    store = InMemoryEventStore()
    live = LiveProjection(store, Pages())
    with pytest.raises(InvalidArgumentError, match="at_version"):
        await live.get("a", at_version=1)
    with pytest.raises(InvalidArgumentError, match="can't be a key"):
        await live.get(5)
    with pytest.raises(InvalidArgumentError, match="at_time"):
        await live.get("a", at_time=datetime(2001, 1, 1))  # noqa: DTZ001 - the point
    with pytest.raises(InvalidArgumentError, match="child"):
        await LiveProjection(store, Names()).child_rows(Pages.visitors, "a")


# --- Where the key is the stream --------------------------------------------------------------------------------------


def by_stream(category: Any = "person", key: Any = "page", **members: Any) -> Any:
    return type("Wrong", (Pages,), members, table="wrong", key=key, by_stream=category)


@dataclass
class Numbered:
    number: int
    name: str


class ByNumber(TableProjection[Numbered], table="by_number", key="number", by_stream="person"):
    @handles
    def renamed(self, event: Renamed, row: Numbered | None) -> Numbered:
        return Numbered(1, event.name)


class ByTwo(TableProjection[Named], table="by_two", key=("id", "name"), by_stream="person"):
    @handles
    def renamed(self, event: Renamed, row: Named | None) -> Named:
        return Named("1", event.name)


def test_what_else_says_the_keys_is_refused() -> None:
    with pytest.raises(ProjectionDefinitionError, match=r"leave out keys\(\), or leave out by_stream"):
        LiveProjection(InMemoryEventStore(), by_stream()())
    with pytest.raises(ProjectionDefinitionError, match="one field of type str"):
        LiveProjection(InMemoryEventStore(), ByNumber())
    with pytest.raises(ProjectionDefinitionError, match="one field of type str"):
        LiveProjection(InMemoryEventStore(), ByTwo())


@pytest.mark.parametrize("category", ["", "a-b", 5])
def test_a_category_that_can_not_be_is_refused(category: Any) -> None:
    with pytest.raises(ProjectionDefinitionError, match="by_stream isn't a category"):
        by_stream(category)


def test_fold_takes_the_stream_that_it_is_told() -> None:
    assert fold(Names(), [Renamed(name="a")]) == {"1": Named("1", "a")}
    assert fold(Names(), [Renamed(name="a")], stream_id="person-7") == {"7": Named("7", "a")}
    assert fold(Names(), [Renamed(name="a")], stream_id="animal-7") == {}


class Written(SQLProjection, name="written"):
    tables = {"written": "create table {written} (page text)"}

    @handles
    def renamed(self, event: Renamed, tx: ProjectionTransaction) -> None: ...


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Written(), "projection 'written' can't run: a SQLProjection writes with its own code, so run it in a "),
        (Written, "projection 'Written' can't run: it is a class: give an instance, Written()"),
        (Pages, "projection 'Pages' can't run: it is a class: give an instance, Pages()"),
        ("pages", "it isn't a projection: give an instance"),
    ],
)
def test_what_isnt_a_projection_of_rows_is_refused_by_its_name(given: Any, message: str) -> None:
    with pytest.raises(ProjectionDefinitionError) as caught:
        LiveProjection(InMemoryEventStore(), given)
    assert message in str(caught.value)
    assert "0x" not in str(caught.value)
