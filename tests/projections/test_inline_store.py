"""Rows that appends write in their own transaction: there with the events, or neither is."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM
from perdure.errors import (
    InlineProjectionError,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    ReadOnlyStoreError,
    StoreUnavailableError,
    TransactionError,
    UnsupportedOperationError,
)
from perdure.events import NewEvent
from perdure.projections.inline_store import InlineProjections
from perdure.projections.operations import ProjectionOperations
from perdure.store import EventStore
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.connections.pool import Pool
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.inline_carts import LAST, Carts, Cursed, Emptied, Filled, check, rows_in


class Deliberate(Exception):  # noqa: N818 - it stands for any error
    """Rolls a transaction back."""


@pytest.fixture
async def inline(store: PostgreSQLEventStore) -> AsyncIterator[InlineProjections]:
    async with InlineProjections(store, [Carts()]) as inline:
        yield inline


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


async def test_typed_reads_in_a_transaction_see_the_rows_that_its_own_appends_have_written(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InlineProjections(PostgreSQLEventStore(database_url, pool_size=2), [Carts()]) as inline:
        await inline.append_to_stream("cart-1", ANY, [Filled(item="a")])
        with pytest.raises(Deliberate):
            async with inline.transaction() as tx:
                monkeypatch.setattr(Pool, "acquire", None)  # another connection would be an error
                await inline.append_to_stream("cart-1", ANY, [Filled(item="b", count=2)], tx=tx)
                await inline.append_to_stream("cart-2", ANY, [Filled(item="b")], tx=tx)
                row = await Carts.get(inline, "1", tx=tx)
                assert row is not None
                assert row.total == 3
                assert [one.cart_id for one in await Carts.find(inline, tx=tx)] == ["1", "2"]
                items = await Carts.find_children(inline, Carts.items, cart_id="1", tx=tx)
                assert [(one.item, one.count) for one in items] == [("a", 1), ("b", 2)]
                with pytest.raises(InvalidArgumentError, match="tx can't be combined with at_position or at_time"):
                    await Carts.get(inline, "1", at_position=1, tx=tx)
                raise Deliberate
        monkeypatch.undo()

        assert [one.total for one in await Carts.find(inline)] == [1]
        with pytest.raises(TransactionError, match="isn't open"):
            await Carts.find(inline, tx=tx)
    memory = InMemoryEventStore()
    with pytest.raises(UnsupportedOperationError):
        await Carts.get(memory, "1", tx=tx)
