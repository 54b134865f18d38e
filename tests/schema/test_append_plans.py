"""The functions that append look into indexes, also by plans that a session cached while the log was small."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.events import NewEvent
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import notes, other_connection

METADATA = '{"timestamp":"2026-01-01T00:00:00.000000Z"}'
KNOWN = UUID(int=1)
GROW = """
    insert into perdure.events (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
    select 'grown-' || n, 1, gen_random_uuid(), 'type', 1, '{}', '{"timestamp":"2026-01-01T00:00:00.000000Z"}'
    from generate_series(1, 5000) n
"""


def event(stream_id: str) -> tuple[Any, ...]:
    return (stream_id, 7, uuid4(), "type", 1, "{}", METADATA)


async def repeat_with_another_text(connection: asyncpg.Connection) -> None:
    statuses = await connection.fetchval(
        "select statuses from perdure.append_batch('note-1', '7', '1', '1', $1::uuid::text, 'type', '1', '[]', $2,"
        " true, '1s')",
        KNOWN,
        METADATA,
    )
    assert statuses == [5]


async def append_event(connection: asyncpg.Connection) -> None:
    await connection.fetch("select perdure.append_event($1, $2, $3, $4, $5, $6, $7, '1s')", *event("note-1"))


async def append_group(connection: asyncpg.Connection) -> None:
    await connection.fetch(
        "select * from perdure.append_group(array[$1, 'note-2'], array[$2::integer, -1], array[1, 0], '{}', '{}',"
        " array[$3::uuid], array[$4], array[$5::integer::smallint], array[$6::json], array[$7::json], true, '1s')",
        *event("note-1"),
    )


async def append_batch(connection: asyncpg.Connection) -> None:
    await connection.fetch(
        "select * from perdure.append_batch($1, $2::integer::text, '1', '1', $3::uuid::text, $4, $5::integer::text,"
        " $6, $7, true, '1s')",
        *event("note-1"),
    )


@pytest.mark.parametrize("append", [append_event, append_group, append_batch, repeat_with_another_text])
async def test_a_plan_from_a_small_log_does_not_scan_a_large_one(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, append: Any
) -> None:
    await store.append_to_stream("note-1", ANY, notes(*range(60)))
    await store.append_to_stream("note-1", ANY, [NewEvent(one, event_id=KNOWN) for one in notes("known")])
    await connection.execute("analyze perdure.events")
    async with other_connection(store.database._url) as grower:
        for _ in range(7):  # after five, a plan is kept
            await append(connection)
        await grower.execute(GROW)
        await connection.execute("select pg_stat_force_next_flush()")
        await grower.execute("select pg_stat_reset()")

        await append(connection)

        await connection.execute("select pg_stat_force_next_flush()")
        scanned = await grower.fetchval("select seq_tup_read from pg_stat_user_tables where relname = 'events'")
    assert scanned == 0
