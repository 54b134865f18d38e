"""Rows that appends keep in their own transaction: there with the events, or neither is."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM
from perdure.errors import (
    BuildStateError,
    InlineProjectionError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    ProjectionDefinitionError,
    ProjectionPausedError,
    ReadOnlyStoreError,
    StoreClosedError,
    StoreUnavailableError,
    TransactionError,
)
from perdure.events import NewEvent, StoredEvent, event, handles
from perdure.projection import ChildRows, TableProjection, child_table
from perdure.projections.inline_store import InlineProjections
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.repository import RetryConfig
from perdure.store import EventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold_tables
from tests.projections.counting import Pages
from tests.projections.logging_visits import VisitCounts


@event("test.inline.filled")
class Filled:
    item: str
    count: int = 1


@event("test.inline.emptied")
class Emptied:
    pass


@event("test.inline.cursed")
class Cursed:
    """Fails as long as `Carts.is_cursed` says so."""


@dataclass
class Cart:
    cart_id: str
    total: int = 0
    version: int = 0
    recorded: str = ""


@dataclass
class Item:
    cart_id: str
    item: str
    count: int = 0


class Carts(TableProjection[Cart], table="carts", key="cart_id", version=1, by_stream="cart"):
    items = child_table(Item, table="carts_items", key=("cart_id", "item"))
    is_cursed = True

    @handles
    def filled(self, event: Filled, row: Cart | None, at: StoredEvent, items: ChildRows[Item]) -> Cart:
        cart_id = at.stream_id.removeprefix("cart-")
        row = row or Cart(cart_id)
        row.total += event.count
        row.version, row.recorded = at.stream_version, at.recorded_at.isoformat()
        item = items.get(event.item) or Item(cart_id, event.item)
        item.count += event.count
        items.put(item)
        return row

    @handles
    def emptied(self, event: Emptied, row: Cart | None) -> Cart | None:
        return None

    @handles
    def cursed(self, event: Cursed, row: Cart | None) -> Cart | None:
        if self.is_cursed:
            raise RuntimeError("cursed")
        return row


async def rows_in(connection: asyncpg.Connection) -> dict[str, dict[Any, Any]]:
    carts = [Cart(**row) for row in await connection.fetch("select * from carts")]
    items = [Item(**row) for row in await connection.fetch("select * from carts_items")]
    return {
        "carts": {row.cart_id: row for row in carts},
        "carts_items": {(row.cart_id, row.item): row for row in items},
    }


async def check(store: EventStore, connection: asyncpg.Connection) -> None:
    """The rows are those of all that is in the log."""
    assert await rows_in(connection) == fold_tables(Carts(), await store.read_all_events())


@pytest.fixture
async def inline(store: PostgreSQLEventStore) -> AsyncIterator[InlineProjections]:
    async with InlineProjections(store, [Carts()]) as inline:
        yield inline


# --- With the events, or not at all -----------------------------------------------------------------------------------


async def test_a_store_that_is_read_only_keeps_no_rows(database_url: str) -> None:
    with pytest.raises(ReadOnlyStoreError):
        InlineProjections(PostgreSQLEventStore(database_url, read_only=True), [Carts()])


async def test_rows_are_there_as_soon_as_the_events_are(
    inline: InlineProjections, connection: asyncpg.Connection
) -> None:
    for count in range(1, 4):
        await inline.append_to_stream("cart-1", ANY, [Filled(item="a"), Filled(item="b", count=2)])
        assert (await rows_in(connection))["carts"]["1"].total == 3 * count
    await inline.append_to_stream("cart-2", NO_STREAM, [Filled(item="a")])
    await inline.append_to_stream("cart-1", 6, [Emptied()])
    await inline.append_to_stream("other-1", ANY, [Filled(item="a")])

    assert list((await rows_in(connection))["carts"]) == ["2"]
    await check(inline, connection)


async def test_several_streams_at_once(inline: InlineProjections, connection: asyncpg.Connection) -> None:
    await inline.append_to_streams(
        [("cart-2", 0, [Filled(item="a")]), ("other-1", 0, [Filled(item="a")]), ("cart-1", 0, [Filled(item="b")])]
    )

    assert set((await rows_in(connection))["carts"]) == {"1", "2"}
    await check(inline, connection)


async def test_an_event_that_can_not_be_folded_is_not_appended(
    inline: InlineProjections, connection: asyncpg.Connection
) -> None:
    await inline.append_to_stream("cart-1", 0, [Filled(item="a")])
    with pytest.raises(InlineProjectionError, match="nothing was appended: projection 'carts' failed on") as caught:
        await inline.append_to_stream("cart-1", 1, [Filled(item="a"), Cursed()])
    with pytest.raises(InlineProjectionError):
        await inline.append_to_streams([("cart-9", 0, [Filled(item="a")]), ("cart-1", 1, [Cursed()])])

    error = caught.value
    assert (error.name, error.stream_id, error.stream_version) == ("carts", "cart-1", 3)
    assert (error.event_type, str(error.__cause__)) == ("test.inline.cursed", "cursed")
    assert await inline.stream_version("cart-1") == 1
    assert await inline.stream_version("cart-9") == 0
    await inline.append_to_stream("cart-1", 1, [Filled(item="a")])
    await check(inline, connection)


async def test_a_row_that_the_database_refuses_is_not_appended(
    inline: InlineProjections, connection: asyncpg.Connection
) -> None:
    await connection.execute("alter table carts__v1 add check (total < 5)")
    with pytest.raises(InlineProjectionError, match="violates check constraint"):
        await inline.append_to_stream("cart-1", 0, [Filled(item="a", count=5)])

    assert await inline.read_all_events() == []


async def test_a_conflict_is_a_conflict_and_leaves_the_rows_alone(
    inline: InlineProjections, connection: asyncpg.Connection
) -> None:
    await inline.append_to_stream("cart-1", 0, [Filled(item="a")])
    with pytest.raises(OptimisticConcurrencyError) as caught:
        await inline.append_to_stream("cart-1", 0, [Filled(item="b")])

    assert caught.value.actual_version == 1
    await check(inline, connection)


async def test_a_repeated_append_is_folded_once(inline: InlineProjections, connection: asyncpg.Connection) -> None:
    events = [NewEvent(Filled(item="a")), NewEvent(Filled(item="b"))]
    first = await inline.append_to_stream("cart-1", 0, events)
    await inline.append_to_stream("cart-1", 2, [Filled(item="c")])

    assert await inline.append_to_stream("cart-1", 0, events) == first
    assert (await rows_in(connection))["carts"]["1"].total == 3
    await check(inline, connection)


async def test_the_callers_transaction_holds_both(inline: InlineProjections, connection: asyncpg.Connection) -> None:
    with pytest.raises(ZeroDivisionError):
        async with inline.transaction() as tx:
            await inline.append_to_stream("cart-1", 0, [Filled(item="a")], tx=tx)
            raise ZeroDivisionError
    assert await rows_in(connection) == {"carts": {}, "carts_items": {}}
    async with inline.transaction() as tx:
        await inline.append_to_stream("cart-1", 0, [Filled(item="a")], tx=tx)
        with pytest.raises(InlineProjectionError):
            await inline.append_to_stream("cart-1", 1, [Cursed()], tx=tx)
        with pytest.raises(OptimisticConcurrencyError):
            await inline.append_to_stream("cart-1", 0, [Filled(item="a")], tx=tx)
        await inline.append_to_streams([("cart-2", 0, [Filled(item="b")])], tx=tx)
        await inline.append_to_stream("cart-1", 1, [Filled(item="c")], tx=tx)
    with pytest.raises(TransactionError, match="isn't open"):
        await inline.append_to_stream("cart-1", 2, [Filled(item="a")], tx=tx)

    assert [stored.event_type for stored in await inline.read_all_events()] == ["test.inline.filled"] * 3
    await check(inline, connection)


async def test_writers_that_race_for_a_few_streams_leave_the_rows_right(
    inline: InlineProjections, database_url: str, connection: asyncpg.Connection
) -> None:
    """In two processes' stores, with foreign appends in between, so that the search of the log takes part."""

    async def write(store: EventStore, seed: int) -> None:
        drawn = random.Random(seed)
        for _ in range(15):
            kind = drawn.choice([Filled(item=drawn.choice("abc")), Filled(item="d"), Emptied()])
            cart = f"cart-{drawn.randrange(4)}"
            if drawn.random() < 0.2:
                other = f"cart-{drawn.randrange(4, 8)}"
                await store.append_to_streams([(other, ANY, [Filled(item="z")]), (cart, ANY, [kind])])
            else:
                await store.append_to_stream(cart, ANY, [kind])

    async with (
        PostgreSQLEventStore(database_url) as plain,
        InlineProjections(PostgreSQLEventStore(database_url), [Carts()]) as elsewhere,
    ):
        stores = [inline, inline, elsewhere, elsewhere, plain]
        await asyncio.gather(*[write(store, seed) for seed, store in enumerate(stores)])
        await ProjectionOperations(plain).wait_for("carts", await plain.database.fetch_value(LAST), timeout=30)
        await check(plain, connection)


LAST = "select max(global_position) from perdure.events"


# --- What was appended without it -------------------------------------------------------------------------------------


async def test_opening_builds_the_rows_of_what_is_there_while_others_append(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    for number in range(20):
        await store.append_to_stream(f"cart-{number}", 0, [Filled(item="a")] * 30)
    before = await store.database.fetch_value(LAST)
    stop = asyncio.Event()

    async def append(to: EventStore) -> None:
        for n in range(200):
            if stop.is_set():
                return
            await to.append_to_stream(f"cart-{n % 23}", ANY, [Filled(item="b")])

    async with InlineProjections(PostgreSQLEventStore(database_url), [Carts()]) as first:
        appending = [asyncio.create_task(append(to)) for to in (store, first)]
        async with InlineProjections(store, [Carts()]) as inline:
            totals = await connection.fetchval("select count(*) from carts where total >= 30")
            assert totals == 20, "opened when everything of before is there"
            assert before <= await store.database.fetch_value(LAST)
            await inline.append_to_stream("cart-0", ANY, [Filled(item="c")])
            stop.set()
            await asyncio.gather(*appending)
            await ProjectionOperations(store).wait_for("carts", await store.database.fetch_value(LAST), timeout=30)

    await check(store, connection)


async def test_an_append_folds_what_its_stream_lacks_first(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.projections.engines.inline.rows._PAGE", 2)
    async with InlineProjections(store, [Carts()]) as inline:
        await inline.append_to_stream("cart-1", 0, [Filled(item="a")])
        await ProjectionOperations(store).pause("carts")  # the search of the log, so that it can't be first
        await store.append_to_stream("cart-1", 1, [Filled(item="b")] * 5)
        assert (await rows_in(connection))["carts"]["1"].total == 1
        await inline.append_to_stream("cart-1", 6, [Filled(item="c")])

        await check(inline, connection)
        await ProjectionOperations(store).resume("carts")
    await check(store, connection)


async def test_a_log_that_can_not_be_folded_is_told_at_opening_and_skipped_events_stay_out(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.projections.state.options.RetryConfig", lambda: RetryConfig(max_attempts=1))
    await store.append_to_stream("cart-1", 0, [Filled(item="a"), Cursed(), Filled(item="b")])
    with pytest.raises(ProjectionPausedError, match="cursed"):
        await InlineProjections(store, [Carts()]).open()
    assert (await rows_in(connection))["carts"]["1"].total == 1
    assert store.is_open, "whoever opened it closes it"

    assert await ProjectionOperations(store).skip("carts", 2, "known") == 1
    await ProjectionOperations(store).resume("carts")
    async with InlineProjections(store, [Carts()]) as inline:
        await inline.append_to_stream("cart-1", 3, [Filled(item="c")])

    assert (await rows_in(connection))["carts"]["1"].total == 3


# --- Who may ----------------------------------------------------------------------------------------------------------


class Shared(TableProjection[Cart], table="shared", key="cart_id"):
    def keys(self, event: Any, at: StoredEvent) -> list[str]:
        return ["all"]

    @handles
    def filled(self, event: Filled, row: Cart | None) -> Cart:
        return row or Cart("all")


class Parking(Carts, table="parking_carts", key="cart_id", by_stream="cart", on_failure="park"):
    items = child_table(Item, table="parking_items", key=("cart_id", "item"))


@pytest.mark.parametrize(
    ("projection", "reason"),
    [
        (Shared(), "only if each row belongs to one stream.*order of locks"),
        (Pages(), "only if each row belongs to one stream"),
        (Parking(), "nothing is parked inline"),
        (VisitCounts(), "only a TableProjection can be inline"),
        (Carts, "give an instance"),
    ],
)
async def test_others_are_refused_with_the_reason(store: PostgreSQLEventStore, projection: Any, reason: str) -> None:
    with pytest.raises(ProjectionDefinitionError, match=reason):
        InlineProjections(store, [projection])


async def test_two_of_one_name_are_refused(store: PostgreSQLEventStore) -> None:
    with pytest.raises(ProjectionDefinitionError, match="more than one table"):
        InlineProjections(store, [Carts(), Carts()])


async def test_a_version_is_kept_inline_or_by_a_service_never_by_both(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    class CartsTwo(Carts, table="carts", key="cart_id", version=2, by_stream="cart"):
        items = child_table(Item, table="carts_items", key=("cart_id", "item"))

    await store.append_to_stream("cart-1", 0, [Filled(item="a")])
    async with ProjectionService(store, [Carts()]) as service:
        await service.wait_for("carts", 1, timeout=30)
        with pytest.raises(
            ProjectionDefinitionError, match="version 1 was set up in mode 'async': give its class a new version"
        ):
            await InlineProjections(store, [Carts()]).open()
        await store.append_to_stream("cart-1", 1, [Filled(item="b")])
        async with InlineProjections(store, [CartsTwo()]) as inline:
            saved = await inline.append_to_stream("cart-1", 2, [Filled(item="c")])
            await service.wait_for("carts", saved, timeout=30)
            operations = ProjectionOperations(store)
            while not (status := {one.version: one for one in await operations.status("carts")})[2].is_shown:  # noqa: ASYNC110 - the database has no event to wait for
                await asyncio.sleep(0.01)
            assert {version: one.mode for version, one in status.items()} == {1: "async", 2: "inline"}
            with pytest.raises(BuildStateError, match="give its class a new version"):
                await operations.rebuild("carts")
            with pytest.raises(
                ProjectionDefinitionError, match="version 2 was set up in mode 'inline': give its class a new version"
            ):
                await ProjectionService(store, [CartsTwo()]).start()
            await check(inline, connection)


async def test_it_opens_and_closes_the_store_unless_that_is_open(database_url: str) -> None:
    inner = PostgreSQLEventStore(database_url)
    inline = InlineProjections(inner, [Carts()])
    with pytest.raises(StoreClosedError):
        await inline.append_to_stream("cart-1", 0, [Filled(item="a")])
    async with inline:
        assert (inline.is_open, inner.is_open) == (True, True)
    assert (inline.is_open, inner.is_open) == (False, False)
    with pytest.raises(StoreClosedError):
        await inline.append_to_stream("cart-1", 0, [Filled(item="a")])


class Cutter:
    """Cuts the connection of one task before, or after, one of its statements, counted from 1."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after = at, after
        self.count = 0
        self.task: asyncio.Task[Any] | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("execute", "fetch", "fetchrow", "fetchval"):
            monkeypatch.setattr(asyncpg.Connection, name, self._cutting(getattr(asyncpg.Connection, name)))

    def _cutting(self, original: Any) -> Any:
        async def cut(connection: asyncpg.Connection, *arguments: Any, **options: Any) -> Any:
            if asyncio.current_task() is not self.task:
                return await original(connection, *arguments, **options)
            self.count += 1
            if self.count != self.at:
                return await original(connection, *arguments, **options)
            if self.after:
                await original(connection, *arguments, **options)
            connection.terminate()
            raise ConnectionResetError("cut")

        return cut


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_any_statement_leaves_events_and_rows_or_neither(
    store: PostgreSQLEventStore, inline: InlineProjections, connection: asyncpg.Connection, after: bool
) -> None:
    at = 0
    while True:
        at += 1
        cutter = Cutter(at, after=after)
        events = [NewEvent(Filled(item="a")), NewEvent(Emptied()), NewEvent(Filled(item="b"))]
        with pytest.MonkeyPatch.context() as monkeypatch:
            cutter.install(monkeypatch)
            cutter.task = asyncio.create_task(inline.append_to_stream("cart-1", ANY, events))
            await asyncio.wait([cutter.task])
        error = cutter.task.exception()
        assert error is None or isinstance(error, StoreUnavailableError | OutcomeUnknownError)
        await check(store, connection)
        saved = await inline.append_to_stream("cart-1", ANY, events)
        assert (await store.stream_version("cart-1"), saved.stream_version) == (3 * at, 3 * at), "once"
        await check(store, connection)
        if cutter.count < at:
            break  # it was done before its turn came: every statement has been hit

    assert at > 8
