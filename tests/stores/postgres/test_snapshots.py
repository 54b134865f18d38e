"""Snapshots in their table: found by an index, never in the way, and no part of the truth."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from perdure.events import NewEvent
from perdure.snapshot import Snapshot
from perdure.stores.postgres.reader import Reader
from perdure.stores.postgres.snapshots import SnapshotTable
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import Noted, notes


async def written(store: PostgreSQLEventStore, count: int, state: str = "{}") -> Snapshot:
    """A snapshot at the end of a new stream of so many events."""
    events = [NewEvent(one) for one in notes(*range(count))]
    await store.append_to_stream("note-1", 0, events)
    snapshot = Snapshot("note-1", count, events[-1].metadata.event_id, 1, "shape", state)
    await store.write_snapshot(snapshot)
    return snapshot


async def test_people_can_read_a_snapshot_with_sql(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    await written(store, 3, '{"owner":"ann"}')

    rows = await connection.fetch("select stream_id, stream_version, state->>'owner' as owner from perdure.snapshots")

    assert [tuple(row) for row in rows] == [("note-1", 3, "ann")]


async def test_deleting_snapshots_loses_nothing(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    snapshot = await written(store, 3)
    await connection.execute("truncate perdure.snapshots")

    assert await store.read_snapshot("note-1") is None
    await store.write_snapshot(snapshot)
    assert await store.read_snapshot("note-1") == snapshot


async def test_a_snapshot_of_a_log_that_was_restored_is_not_given(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """The backup had less, and other events were appended since: the versions fit, the events don't."""
    await written(store, 3)
    await connection.execute("alter table perdure.events disable trigger all; delete from perdure.events")
    await connection.execute("alter table perdure.events enable trigger all")
    await store.append_to_stream("note-1", 0, notes("a", "b", "c", "d"))

    assert await store.read_snapshot("note-1") is None


async def test_a_snapshot_needs_no_disk_to_be_written(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await connection.execute("""
        create table perdure.seen (setting text);
        create function perdure.note_setting() returns trigger language plpgsql as $$
        begin
            insert into perdure.seen values (current_setting('synchronous_commit'));
            return null;
        end $$;
        create constraint trigger note_setting after insert or update on perdure.snapshots
        deferrable initially deferred for each row execute function perdure.note_setting();
    """)
    await written(store, 1)

    # At the commit; and the connection's next append waits for the disk again.
    assert await connection.fetchval("select setting from perdure.seen") == "off"
    assert await store.database.fetch_value("show synchronous_commit") == "on"


async def test_followers_never_wait_for_a_snapshot(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    snapshot = await written(store, 2)
    async with connection.transaction():
        await connection.execute("update perdure.snapshots set state = '{}'")  # not committed yet
        await store.append_to_stream("note-2", 0, notes("later"))

        assert len(await store.read_all_events(event_types=[Noted])) == 3
        assert await store.read_snapshot("note-1") == snapshot


Seen = Callable[[str], Awaitable[str]]


@pytest.fixture
async def plan(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> Seen:
    """How the server runs a statement, on tables that are large enough for it to choose."""
    await connection.execute("""
        insert into perdure.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select 'note-' || n % 700, n / 700 + 1, gen_random_uuid(), 'noted', 1, '{}',
            '{"timestamp":"2026-01-01T00:00:00Z"}'
        from generate_series(0, 20999) n;
        insert into perdure.snapshots (stream_id, stream_version, event_id, state_version, state_shape, state)
        select stream_id, stream_version, event_id, 1, 'shape', '{}' from perdure.events where stream_version = 30;
        analyze perdure.events, perdure.snapshots;
    """)

    async def explained(sql: str) -> str:
        return "\n".join(row[0] for row in await connection.fetch(f"explain {sql}"))

    return explained


async def test_what_is_looked_up_by_id_or_stream_is_found_by_an_index(store: PostgreSQLEventStore, plan: Seen) -> None:
    read_event, read = Reader(store.database)._sql["read_event"], SnapshotTable(store.database)._sql["read"]

    by_id = await plan(read_event.replace("$1", f"'{'0' * 32}'"))
    of_stream = await plan(read.replace("$1", "'note-5'"))

    assert "events_event_id" in by_id
    assert "snapshots_pkey" in of_stream
    assert "Seq Scan" not in by_id + of_stream
