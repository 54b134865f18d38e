"""Reactions call their handlers for each event, in order for each key, at the same time for different keys."""

import asyncpg

from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.engines.reaction.calling import Provider, Shipping, key_of, place


async def test_each_event_is_called_once_with_its_key(store: PostgreSQLEventStore) -> None:
    provider = Provider()
    async with ProjectionService(store, [Shipping(provider)]) as service:
        await service.wait_for("shipping", await place(store, "a", 1, 2), timeout=30)
    events = await store.read_all_events()
    assert [call.key for call in provider.calls] == [key_of(stored.event_id) for stored in events]
    assert {(call.attempt, call.may_be_repeat) for call in provider.calls} == {(1, False)}


async def test_an_event_that_fails_is_tried_again_and_then_recorded(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, quick_beats: None
) -> None:
    provider = Provider()
    provider.failing["a"] = 2
    async with ProjectionService(store, [Shipping(provider)]) as service:
        saved = [await place(store, "a", 1, 2), await place(store, "b", 1)]
        await service.wait_for("shipping", saved, timeout=30)
    assert provider.numbers("a") == [1, 1, 1, 2]
    assert provider.numbers("b") == [1]
    assert [call.attempt for call in provider.calls if call.order == "a"] == [1, 2, 3, 1]
    assert await connection.fetchval("select count(*) from perdure.parked_events") == 0
