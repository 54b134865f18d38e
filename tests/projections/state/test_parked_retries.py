"""Parked events are retried in order, together with those that wait behind them."""

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from perdure.children import ChildRows
from perdure.commit import ANY
from perdure.errors import (
    LogDivergedError,
)
from perdure.events import StoredEvent, event, handles, registry, upcast
from perdure.projection import TableProjection
from perdure.projections.operations import ProjectionOperations
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold, tables_in
from tests.projections.counting import Broken, Moved, Page, Total, Visited, Visitor
from tests.projections.parking_lot import (
    FAILED,
    WAITING,
    Guarded,
    everything_parked,
    guarded,
    page,
    parked,
    rows_of,
    runner_of,
    until,
    until_parked,
    until_processed,
    visit,
)

pytestmark = pytest.mark.usefixtures("quick_beats")


@pytest.mark.parametrize("batch_size", [1, 2, 500])
async def test_a_retry_that_succeeds_takes_what_waits_in_order(
    store: PostgreSQLEventStore, database_url: str, batch_size: int
) -> None:
    projection = Guarded("a")
    async with guarded(store, projection, batch_size=batch_size) as service:
        moves = [Moved(source="a", target=name) for name in "bcdef"]
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a"), *moves, visit("g")])
        await until_processed(service, "guarded", saved, timeout=30)
        projection.bad.clear()
        assert await ProjectionOperations(store).retry("guarded", global_position=2) == 1
        await until_parked(service, store)

        _, tables = await tables_in(database_url, Guarded())
        assert rows_of(tables)["a"] == ["broken", *[f"a>{name}" for name in "bcdef"]]
        later = await store.append_to_stream("x-1", ANY, [visit("a")])
        await until_processed(service, "guarded", later, timeout=30)
        assert await parked(store) == []
        await check_against_fold(store, database_url, Guarded())


async def test_a_retry_that_fails_again_is_counted_and_its_error_renewed(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    class Renewed(Guarded, table="renewed", key="page", on_failure="park"):
        @handles
        def broken(self, event: Broken, row: Page | None) -> Page | None:
            self.tries += 1
            raise RuntimeError(f"try {self.tries}")

    operations = ProjectionOperations(store)
    async with guarded(store, Renewed()) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), visit("a")])
        await until_processed(service, "renewed", saved, timeout=30)
        for attempts in (3, 4):
            assert await operations.retry("renewed") == 1

            async def is_tried(attempts: int = attempts) -> bool:
                return (await operations.parked("renewed"))[0].attempts == attempts

            await until(service, is_tried)
            (failed,) = await operations.parked("renewed")
            assert failed.failure is not None
            assert (failed.failure.message, failed.failure.attempts) == (f"try {attempts}", attempts)
            assert (failed.state, failed.is_retry_requested) == (FAILED, False)
        assert await parked(store, WAITING) == [(2, page("a"), WAITING)]


async def test_when_a_waiting_event_fails_it_stays_with_what_comes_after_it(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    class Twice(Guarded, table="twice", key="page", on_failure="park"):
        @handles
        def visited(self, event: Visited, row: Page | None, at: StoredEvent, visitors: ChildRows[Visitor]) -> Page:
            self._check(event.visitor)
            return super().visited(event, row, at, visitors)

    projection = Twice("a", "y")
    async with guarded(store, projection) as service:
        events = [Broken(page="a"), visit("a"), visit("a", "y"), visit("a")]
        saved = await store.append_to_stream("x-1", ANY, events)
        await until_processed(service, "twice", saved, timeout=30)
        projection.bad.remove("a")
        await ProjectionOperations(store).retry("twice")
        await until_parked(service, store, (3, page("a"), FAILED), (4, page("a"), WAITING))
        (failed, _) = await everything_parked(store)
        assert failed.attempts == 1
        await check_against_fold(store, database_url, Twice())


async def test_regression_25_parked_events_are_read_through_upcasters_that_came_later(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_by_name", dict(registry._by_name))
    monkeypatch.setattr(registry, "_by_class", dict(registry._by_class))
    monkeypatch.setattr(registry, "_upcasters", dict(registry._upcasters))

    @event("test.projections.old_order")
    class Order:
        page: str
        euros: int

    class Old(TableProjection[Total], table="orders", key="page", on_failure="park"):
        @handles
        def ordered(self, event: Order, row: Total | None) -> Total:
            raise ValueError("no cents")

    saved = await store.append_to_stream("x-1", ANY, [Order(page="a", euros=3), Order(page="a", euros=4)])
    async with guarded(store, Old()) as service:
        await until_processed(service, "orders", saved, timeout=30)
    assert await parked(store) == [(1, page("a"), FAILED), (2, page("a"), WAITING)]
    del registry._by_name["test.projections.old_order"]

    @event("test.projections.old_order", version=2)
    class OrderInCents:
        page: str
        cents: int

    @upcast("test.projections.old_order", from_version=1)
    def in_cents(data: dict[str, Any]) -> dict[str, Any]:
        return {"page": data["page"], "cents": 100 * data["euros"]}

    class New(TableProjection[Total], table="orders", key="page", on_failure="park"):
        @handles
        def ordered(self, event: OrderInCents, row: Total | None) -> Total:
            row = row or Total(event.page)
            row.events += event.cents
            return row

    async with guarded(store, New()) as service:
        await ProjectionOperations(store).retry("orders")
        await until_parked(service, store)
        assert (await tables_in(database_url, New()))[1] == {"orders": {"a": Total("a", 700)}}


async def test_a_parked_event_that_is_no_longer_in_the_log_is_reported(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """As after a restored backup: what stands there now isn't what failed."""
    async with guarded(store, Guarded("a")) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), visit("b")])
        await until_processed(service, "guarded", saved, timeout=30)
        await connection.execute("update perdure.parked_events set event_id = gen_random_uuid()")
        await ProjectionOperations(store).retry("guarded")

        async def is_told() -> bool:
            return isinstance(runner_of(service).error, LogDivergedError)

        await until(service, is_told)
        with pytest.raises(LogDivergedError):
            await service.wait_for("guarded", 1000, timeout=20)
    assert len(await parked(store)) == 1


# --- Keys of every type -----------------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


@event("test.projections.keyed")
class Keyed:
    number: int
    id: UUID
    day: date
    colour: Colour
    text: str


@dataclass
class KeyedRow:
    number: int
    id: UUID
    day: date
    colour: Colour
    text: str
    count: int = 0


class ByAll(
    TableProjection[KeyedRow], table="by_all", key=("number", "id", "day", "colour", "text"), on_failure="park"
):
    is_broken = True

    @handles
    def keyed(self, event: Keyed, row: KeyedRow | None) -> KeyedRow:
        if self.is_broken:
            raise RuntimeError("broken")
        row = row or KeyedRow(event.number, event.id, event.day, event.colour, event.text)
        row.count += 1
        return row


@pytest.mark.parametrize("text", ["", "a", 'quo"te', "back\\slash", "käse \U0001f9c0", "new\nline", "{schema}"])
async def test_keys_of_every_type_wait_and_go_on(store: PostgreSQLEventStore, database_url: str, text: str) -> None:
    ids = "0190a5a0-0000-7000-8000-00000000000A", "0190A5A0000070008000" + "00000000000a"
    event_data = [
        Keyed(number=-(2**62), id=UUID(one), day=date(2024, 2, 29), colour=Colour.RED, text=text) for one in ids
    ]
    projection = ByAll()
    async with guarded(store, projection, segments=4) as service:
        for one in event_data:
            saved = await store.append_to_stream("x-1", ANY, [one])
            await until_processed(service, "by_all", saved, timeout=30)
        failed, waiting = await everything_parked(store)
        assert (failed.state, waiting.state, failed.key) == (FAILED, WAITING, waiting.key)
        assert msgspec.json.decode(failed.key)["text"] == text

        projection.is_broken = False
        assert await ProjectionOperations(store).retry("by_all", key=failed.key) == 1
        await until_parked(service, store)
        _, tables = await tables_in(database_url, projection)
        assert [row.count for row in tables["by_all"].values()] == [2]
