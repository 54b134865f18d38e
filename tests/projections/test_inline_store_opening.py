"""Opening a store with inline projections: which projections it takes, and events that were appended without it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from perdure.children import child_table
from perdure.commit import ANY
from perdure.errors import (
    BuildStateError,
    ProjectionDefinitionError,
    ProjectionPausedError,
    StoreClosedError,
)
from perdure.events import StoredEvent, handles
from perdure.projection import TableProjection
from perdure.projections.inline_store import InlineProjections
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.repository import RetryConfig
from perdure.store import EventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Pages
from tests.projections.inline_carts import LAST, Cart, Carts, Cursed, Filled, Item, check, rows_in
from tests.projections.logging_visits import VisitCounts


@pytest.fixture
async def inline(store: PostgreSQLEventStore) -> AsyncIterator[InlineProjections]:
    async with InlineProjections(store, [Carts()]) as inline:
        yield inline


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
    monkeypatch.setattr("perdure.projections.state.options.EVENT_RETRY", RetryConfig(max_attempts=1))
    await store.append_to_stream("cart-1", 0, [Filled(item="a"), Cursed(), Filled(item="b")])
    with pytest.raises(ProjectionPausedError, match="cursed"):
        await InlineProjections(store, [Carts()]).open()
    assert (await rows_in(connection))["carts"]["1"].total == 1
    assert store.is_open, "a store that was open stays open"

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
        with pytest.raises(ProjectionDefinitionError, match="set up in mode 'async': give its class a new version"):
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
