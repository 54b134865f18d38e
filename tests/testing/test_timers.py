"""Time that goes by at once, for tests of processes."""

from datetime import timedelta

import asyncpg
import pytest

from perdure.errors import InvalidArgumentError, UnsupportedOperationError
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing import advance_timers
from tests.projections.timers.timing import LATER, fired_payloads, remaining, set_many, set_timer


async def test_what_is_due_after_that_time_fires_and_the_rest_is_due_earlier(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    ann = await set_timer(connection, "ann", due_in=LATER - timedelta(hours=1))
    await set_timer(connection, "bob", due_in=2 * LATER)
    before = store.changes.count

    assert await advance_timers(store, LATER) == 1

    assert [one["timer"] for one in await fired_payloads(store, ann.stream_id)] == ["end"]
    assert await remaining(connection) == [("bob", "end")]
    assert store.changes.count > before
    assert await advance_timers(store, LATER - timedelta(hours=1)) == 0
    assert await advance_timers(store, timedelta(hours=1)) == 1


async def test_time_goes_by_for_one_process(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    await set_timer(connection, "ann", due_in=LATER)
    await set_many(connection, 3, due_in=LATER, name="others")

    assert await advance_timers(store, LATER + timedelta(minutes=1), "others") == 3
    assert await remaining(connection) == [("ann", "end")]


async def test_more_timers_fire_than_one_transaction_takes(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await set_many(connection, 600)

    assert await advance_timers(store, timedelta()) == 600


async def test_time_does_not_go_backwards(store: PostgreSQLEventStore) -> None:
    with pytest.raises(InvalidArgumentError, match="time goes forward"):
        await advance_timers(store, timedelta(days=-1))


async def test_a_store_without_a_database_has_no_timers() -> None:
    with pytest.raises(UnsupportedOperationError):
        await advance_timers(InMemoryEventStore(), timedelta(days=1))
