"""A look for timers that are due reads only those, however many are set for later."""

import asyncpg
import pytest

from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.timers.timing import LATER, fire, set_many, set_timer
from tests.stores.postgres.races import other_connection

READS = """
    select coalesce(sum(seq_tup_read), 0)::bigint as scanned, coalesce(sum(idx_tup_fetch), 0)::bigint as fetched
    from pg_stat_user_tables where relname in ('timers', 'events')
"""


async def start_counting(connection: asyncpg.Connection, observer: asyncpg.Connection) -> None:
    await connection.execute("select pg_stat_force_next_flush()")
    await observer.execute("select pg_stat_reset()")


async def counted(connection: asyncpg.Connection, observer: asyncpg.Connection) -> asyncpg.Record:
    await connection.execute("select pg_stat_force_next_flush()")
    row = await observer.fetchrow(READS)
    assert row is not None
    return row


@pytest.mark.parametrize("due", [0, 1])
async def test_a_plan_from_few_timers_does_not_read_many(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str, due: int
) -> None:
    await connection.execute("analyze perdure.timers")
    async with other_connection(database_url) as observer:
        for user in range(7):  # after five, a plan is kept
            await set_timer(observer, str(user))
            assert (await fire(connection))["fired"] == 1
        await set_many(observer, 5000, due_in=LATER, name="others")
        for user in range(due):
            await set_timer(observer, str(user))
        await observer.execute("select pg_stat_force_next_flush()")
        await start_counting(connection, observer)

        assert (await fire(connection))["fired"] == due

        reads = await counted(connection, observer)
    assert reads["scanned"] == 0
    assert reads["fetched"] <= 20
