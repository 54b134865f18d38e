"""What the tests of the PostgreSQL store share: events, locks that make a race happen, and looks into the server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from perdure.commit import ANY
from perdure.events import NewEvent, StoredEvent, event
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.pooler import direct


@event("test.races.noted")
class Noted:
    text: str = ""


def notes(*texts: object) -> list[Noted]:
    return [Noted(text=str(text)) for text in texts]


def texts(events: list[StoredEvent]) -> list[str]:
    return [stored.event.text for stored in events]


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until something holds that they bring about. The test's time-out is the limit."""
    while not condition():  # noqa: ASYNC110 - it looks at what has no event of its own
        await asyncio.sleep(0.001)


async def until_waiting(connection: asyncpg.Connection, count: int = 1, *tasks: asyncio.Task[Any]) -> None:
    """Until so many sessions of this database wait for a lock, or one of the tasks is done, which shouldn't be."""
    query = """
        select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()
    """
    while await connection.fetchval(query) < count:
        if any(task.done() for task in tasks):
            break
        await asyncio.sleep(0.001)


def group(*streams: str, text: str = "group") -> list[tuple[str, Any, list[Any]]]:
    """An append to each of the streams that can be repeated."""
    return [(stream, ANY, [NewEvent(one) for one in notes(text)]) for stream in streams]


@asynccontextmanager
async def other_connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(direct(url))
    try:
        yield connection
    finally:
        connection.terminate()


async def end_sessions(connection: asyncpg.Connection, where: str = "true") -> int:
    """End all other sessions of this database that match, as an administrator or a crash would."""
    query = f"""
        select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and ({where})
    """
    return int(await connection.fetchval(query))


GATE = 4711
"""The advisory lock that `gated` appends wait for."""


async def add_gate(connection: asyncpg.Connection, when: str = "new.event_data->>'text' = 'gated'") -> None:
    """Let inserts that match wait for the lock GATE: the test decides when they go on."""
    await connection.execute(f"""
        create function wait_at_gate() returns trigger language plpgsql as $$
        begin
            if {when} then
                perform set_config('lock_timeout', '0', true);
                perform pg_advisory_xact_lock_shared({GATE});
            end if;
            return new;
        end $$;
        create trigger wait_at_gate before insert on perdure.events for each row execute function wait_at_gate();
    """)


async def close_gate(connection: asyncpg.Connection) -> None:
    await connection.execute(f"select pg_advisory_lock({GATE})")


async def open_gate(connection: asyncpg.Connection) -> None:
    await connection.execute(f"select pg_advisory_unlock({GATE})")


async def refuse(connection: asyncpg.Connection, text: str = "poison") -> None:
    """Let the database refuse events with this text."""
    await connection.execute(
        f"alter table perdure.events add constraint no_poison check (event_data->>'text' <> '{text}')"
    )


async def insert(connection: asyncpg.Connection, stream_id: str, version: int, text: str = "") -> int:
    """A plain INSERT, around the functions of the store. Returns the position."""
    position = await connection.fetchval(
        """
        insert into perdure.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        values ($1, $2, gen_random_uuid(), 'test.races.noted', 1, $3, '{"timestamp":"2024-01-01T00:00:00Z"}')
        returning global_position
        """,
        stream_id,
        version,
        f'{{"text":"{text}"}}',
    )
    return int(position)


async def positions(store: PostgreSQLEventStore, **where: Any) -> list[int]:
    return [stored.global_position for stored in await store.read_all_events(**where)]


async def record_durability(connection: asyncpg.Connection, table: str) -> None:
    """Note how each transaction that writes to the table is committed, for `durability`."""
    await connection.execute(f"""
        create table public.durability (setting text);
        create function public.record_durability() returns trigger language plpgsql as $$
        begin
            insert into public.durability values (current_setting('synchronous_commit'));
            return null;
        end $$;
        create constraint trigger record_durability after insert or update on {table}
            deferrable initially deferred for each row execute function public.record_durability();
    """)


async def durability(connection: asyncpg.Connection) -> set[str]:
    return {row["setting"] for row in await connection.fetch("select setting from public.durability")}
