"""Timers that tests set as a process does: by rows."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg

from perdure.event_ids import firing_id
from perdure.projections.state.process_stream import process_stream
from perdure.store import EventStore

SET = """
    insert into perdure.timers as t (name, key, timer, due_at, set_by, data)
    values ($1, $2, $3, clock_timestamp() + $4, $5, $6)
    on conflict (name, key, timer)
    do update set due_at = excluded.due_at, set_by = excluded.set_by, data = excluded.data
    returning due_at
"""
CANCEL = "delete from perdure.timers where name = $1 and key = $2 and timer = $3"
SET_MANY = """
    insert into perdure.timers (name, key, timer, due_at, set_by)
    select $1, '{"user_id":' || n || '}', 'end', clock_timestamp() + $3 + n * interval '1 us', gen_random_uuid()
    from generate_series(1, $2::integer) n
"""
PAST = timedelta(seconds=-1)
LATER = timedelta(days=7)


class Timer(NamedTuple):
    """A timer of a user's trial."""

    user: str
    timer: str = "end"
    set_by: UUID = UUID(int=0)
    due_at: datetime = datetime(2000, 1, 1, tzinfo=UTC)

    @property
    def key(self) -> str:
        return json.dumps({"user_id": self.user}, separators=(",", ":"), ensure_ascii=False)

    @property
    def stream_id(self) -> str:
        return process_stream("trials", self.key)

    @property
    def firing_id(self) -> UUID:
        return firing_id("trials", self.key, self.timer, self.set_by)


async def set_timer(
    connection: asyncpg.Connection,
    user: str,
    timer: str = "end",
    *,
    due_in: timedelta = PAST,
    set_by: UUID | None = None,
    data: str = "null",
) -> Timer:
    """Set a timer, or replace it."""
    made = Timer(user, timer, set_by or uuid4())
    due_at = await connection.fetchval(SET, "trials", made.key, timer, due_in, made.set_by, data)
    return made._replace(due_at=due_at)


async def set_many(
    connection: asyncpg.Connection, count: int, *, due_in: timedelta = PAST, name: str = "trials"
) -> None:
    """Set a timer of each of so many instances. All are due within a second of each other."""
    await connection.execute(SET_MANY, name, count, due_in, timeout=300)


async def fire(connection: asyncpg.Connection, limit: int = 250) -> asyncpg.Record:
    row = await connection.fetchrow("select * from perdure.fire_timers($1)", limit)
    assert row is not None
    return row


async def fired_payloads(store: EventStore, stream_id: str) -> list[dict[str, Any]]:
    """The payloads of the firings in a stream. No class is registered for them."""
    events = await store.read_stream(stream_id)
    return [json.loads(one.event_data) for one in events if one.event_type == "perdure.timer_fired"]


async def remaining(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await connection.fetch("select key::json ->> 'user_id' as user, timer from perdure.timers order by 1, 2")
    return [tuple(row) for row in rows]


async def fired_twice(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return await connection.fetch("""
        select event_data ->> 'key', event_data ->> 'timer', event_data ->> 'set_by'
        from perdure.events where event_type = 'perdure.timer_fired' group by 1, 2, 3 having count(*) > 1
    """)


async def fired_early(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return await connection.fetch("""
        select stream_id from perdure.events
        where event_type = 'perdure.timer_fired' and recorded_at < (event_data ->> 'due_at')::timestamptz
    """)


async def count_fired(connection: asyncpg.Connection) -> int:
    query = "select count(*) from perdure.events where event_type = 'perdure.timer_fired'"
    count: int = await connection.fetchval(query)
    return count


@asynccontextmanager
async def open_transaction(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction that is rolled back at the end, if it isn't ended before."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        if connection.is_in_transaction():
            await transaction.rollback()
