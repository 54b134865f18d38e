"""Migrations while others append: they wait for nobody long, hold nobody up, and go on where they were cut off."""

import asyncio
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from perdure import schema
from perdure.commit import ANY
from perdure.errors import (
    PerdureError,
    SchemaLockedError,
    SchemaOutdatedError,
    StoreUnavailableError,
)
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.schema.lock_watch import LockWatch
from perdure.stores.postgres.schema.migrator import Migrator
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.schema.holders import refused
from tests.schema.releases import NEXT, Release, release
from tests.schema.test_upkeep import run
from tests.stores.postgres.races import end_sessions, notes, other_connection, texts, until_waiting

__all__ = ["release"]  # a fixture, which is imported to be found

pytestmark = pytest.mark.one_session  # what is built while others append takes one


async def steps(connection: asyncpg.Connection) -> tuple[int, bool] | None:
    """How far the next migration is, and whether it is complete."""
    row = await connection.fetchrow("select steps, applied_at is not null from perdure.migrations where number = 9000")
    return None if row is None else (row[0], row[1])


async def validity(connection: asyncpg.Connection, index: str = "events_type") -> bool | None:
    query = "select indisvalid from pg_index where indexrelid = to_regclass($1)"
    valid: bool | None = await connection.fetchval(query, f"perdure.{index}")
    return valid


async def until_building(connection: asyncpg.Connection, index: str = "events_type") -> None:
    """Until the index is there, but waits for old transactions to end."""
    while await validity(connection, index) is not False:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.001)
    await until_waiting(connection)


# --- While others append ----------------------------------------------------------------------------------------------


async def test_regression_29_appends_go_on_while_an_index_is_built(
    database_url: str, store: PostgreSQLEventStore, connection: asyncpg.Connection, release: Release
) -> None:
    release()
    await store.append_to_stream("note-1", ANY, notes("before"))
    async with other_connection(database_url) as other, other.transaction(isolation="repeatable_read"):
        await other.fetchval("select count(*) from perdure.events")  # its snapshot is what the index waits for
        applying = asyncio.create_task(schema.apply(database_url))
        await until_building(connection)
        for text in ("a", "b", "c"):
            await store.append_to_stream("note-1", ANY, notes(text))
        assert await steps(connection) == (1, False)
    assert await applying == [NEXT]

    assert texts(await store.read_all_events()) == ["before", "a", "b", "c"]
    assert await steps(connection) == (4, True)
    assert await schema.verify(database_url) == []


async def test_migrations_under_running_appends_lose_nothing(
    database_url: str, store: PostgreSQLEventStore, release: Release
) -> None:
    release()
    done = asyncio.Event()
    written: list[str] = []

    async def append(writer: int) -> None:
        while not done.is_set():
            text = f"{writer}.{len(written)}"
            await store.append_to_stream(f"note-{writer}", ANY, notes(text))
            written.append(text)

    writers = [asyncio.create_task(append(writer)) for writer in range(8)]
    assert await schema.apply(database_url) == [NEXT]
    done.set()
    await asyncio.gather(*writers)

    assert sorted(texts(await store.read_all_events())) == sorted(written)
    assert await schema.verify(database_url) == []


async def test_regression_29_an_append_waits_no_longer_than_the_lock_timeout_for_a_column_that_is_added(
    database_url: str, store: PostgreSQLEventStore, connection: asyncpg.Connection, release: Release
) -> None:
    release({"01_events.locking.sql": "alter table {schema}.events add column extra text"})
    async with other_connection(database_url) as other, other.transaction():
        await other.fetchval("select count(*) from perdure.events")  # holds a lock on the table until its end
        applying = asyncio.create_task(schema.apply(database_url, lock_timeout=0.1, timeout=60))
        await until_waiting(connection)
        # It stands in the queue behind the migration, which gives up its place in time.
        await store.append_to_stream("note-1", ANY, notes("a"))
        assert not applying.done()
    assert await applying == [NEXT]

    assert texts(await store.read_all_events()) == ["a"]


# --- Who stands in the way --------------------------------------------------------------------------------------------


async def test_who_holds_the_lock_is_told(database_url: str, connection: asyncpg.Connection, release: Release) -> None:
    release({"01_events.locking.sql": "alter table {schema}.events add column extra text"})
    async with other_connection(database_url) as other, other.transaction():
        await other.execute("set application_name = 'nightly report'")
        await other.fetchval("select 'hunter2secret', count(*) from perdure.events")
        error = await refused(lambda limit: schema.apply(database_url, lock_timeout=limit, timeout=limit), 0.2)
        assert re.search(r"for pid \d+ \(nightly report, idle in transaction, \d+ s", str(error))
        [holder] = error.holders
        assert (holder.pid, holder.application_name) == (other.get_server_pid(), "nightly report")
        assert holder.state == "idle in transaction"
        assert holder.transaction_age is not None
        assert holder.query_age is not None
        assert holder.transaction_age >= holder.query_age
        assert "hunter2" not in str(error)
    assert await steps(connection) is None

    assert await schema.apply(database_url) == [NEXT]


async def test_who_holds_up_an_index_is_told_and_it_is_built_anew_later(
    database_url: str, connection: asyncpg.Connection, release: Release
) -> None:
    release()
    async with other_connection(database_url) as other, other.transaction(isolation="repeatable_read"):
        await other.fetchval("select count(*) from perdure.events")
        error = await refused(lambda limit: schema.apply(database_url, timeout=limit), 0.5)
        assert [holder.pid for holder in error.holders] == [other.get_server_pid()]
        assert await validity(connection) is False
        assert await steps(connection) == (1, False)
        with pytest.raises(SchemaOutdatedError):
            await PostgreSQLEventStore(database_url, migrate=False).open()

    assert await schema.apply(database_url) == [NEXT]
    assert await schema.verify(database_url) == []


async def test_who_migrates_already_is_told(
    database_url: str, connection: asyncpg.Connection, release: Release
) -> None:
    release()
    async with other_connection(database_url) as other, other.transaction(isolation="repeatable_read"):
        await other.fetchval("select count(*) from perdure.events")
        first = asyncio.create_task(schema.apply(database_url))
        await until_building(connection)
        with pytest.raises(SchemaLockedError) as locked:
            await schema.apply(database_url, timeout=0.2)
        [holder] = locked.value.holders
        assert holder.state == "idle in transaction"
    assert await first == [NEXT]


async def test_who_can_not_be_looked_up_is_no_failure_of_its_own(connection: asyncpg.Connection) -> None:
    tried = asyncio.Event()

    class Unreachable(Database):
        async def connect(self) -> asyncpg.Connection:
            tried.set()
            raise StoreUnavailableError("too many connections")

    watch = LockWatch(Unreachable("postgresql://user@127.0.0.1:1/db"), patience=0.01)
    async with watch.over(connection):
        await tried.wait()

    assert watch.holders == ()
    assert "ended before it could be named" in str(SchemaLockedError("perdure", 1.0, watch.holders))


# --- Cut off, and at once ---------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
from pathlib import Path
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.schema.migrator import Migrator

async def main():
    database = Database(sys.argv[1])
    async with database.session() as connection:
        print(*await Migrator(database, Path(sys.argv[2])).apply(connection), flush=True)

asyncio.run(main())
"""


async def process(url: str, folder: Path) -> asyncio.subprocess.Process:
    """Another process that applies the migrations of a folder."""
    command = (sys.executable, "-c", PROGRAM, url, str(folder))
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def test_a_migration_that_was_killed_goes_on_where_it_was(
    database_url: str, connection: asyncpg.Connection, store: PostgreSQLEventStore, release: Release
) -> None:
    folder = release()
    async with other_connection(database_url) as other, other.transaction(isolation="repeatable_read"):
        await other.fetchval("select count(*) from perdure.events")
        killed = await process(database_url, folder)
        await until_building(connection)
        killed.send_signal(signal.SIGKILL)
        await killed.wait()
        await end_sessions(
            connection, "wait_event_type = 'Lock'"
        )  # a server notices a client's death when it next talks
        assert await validity(connection) is False
        assert await steps(connection) == (1, False)
        await store.append_to_stream("note-1", ANY, notes("meanwhile"))

    assert [migration.name for migration in (await schema.plan(database_url)).migrations] == [NEXT]
    assert len((await schema.plan(database_url)).migrations[0].statements) == 3
    assert await schema.apply(database_url) == [NEXT]
    assert await schema.verify(database_url) == []


async def test_the_script_of_a_migration_that_was_cut_off_goes_on_with_it(
    database_url: str, connection: asyncpg.Connection, release: Release
) -> None:
    release()
    async with other_connection(database_url) as other, other.transaction(isolation="repeatable_read"):
        await other.fetchval("select count(*) from perdure.events")
        with pytest.raises(SchemaLockedError):
            await schema.apply(database_url, timeout=0.1)
    assert await validity(connection) is False

    await run(database_url, (await schema.plan(database_url)).script)

    assert await steps(connection) == (4, True)
    assert await schema.verify(database_url) == []


@pytest.mark.parametrize("crash", range(9))
async def test_a_migration_that_is_cut_off_anywhere_goes_on(
    database_url: str, connection: asyncpg.Connection, release: Release, monkeypatch: pytest.MonkeyPatch, crash: int
) -> None:
    release()
    execute = asyncpg.Connection.execute
    calls = 0

    async def fail(self: asyncpg.Connection, sql: str, *arguments: object, **options: Any) -> object:
        nonlocal calls
        if "9000" in sql or "create" in sql or "alter" in sql:
            calls += 1
            if calls == crash + 1:
                raise ConnectionError("cut off")
        return await execute(self, sql, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "execute", fail)
        try:
            await schema.apply(database_url)
        except StoreUnavailableError:
            expected = [NEXT]
        else:
            expected = []
            assert crash == 8  # beyond the last, unless a lock was waited for

    assert await schema.apply(database_url) == expected
    assert await steps(connection) == (4, True)
    assert await schema.verify(database_url) == []


async def test_processes_that_apply_at_once_apply_it_once(
    database_url: str, connection: asyncpg.Connection, release: Release
) -> None:
    folder = release()
    async with other_connection(database_url) as other, other.transaction(isolation="repeatable_read"):
        await other.fetchval("select count(*) from perdure.events")
        processes = [await process(database_url, folder) for _ in range(3)]
        here = [asyncio.create_task(schema.apply(database_url)) for _ in range(2)]
        await until_building(connection)
    told = [(await one.communicate())[0].decode().split() for one in processes]
    told += await asyncio.gather(*here)

    assert [one.returncode for one in processes] == [0, 0, 0]
    assert sorted(told) == [[], [], [], [], [NEXT]]
    assert await schema.verify(database_url) == []


async def test_what_is_new_and_empty_needs_no_patience(empty_database_url: str, release: Release) -> None:
    release()

    assert (await schema.apply(empty_database_url))[-1] == NEXT
    assert await schema.verify(empty_database_url) == []


async def test_an_earlier_migration_stays_when_a_later_one_fails(
    database_url: str, connection: asyncpg.Connection, release: Release
) -> None:
    folder = release({"01_note.sql": "create table {schema}.note (number integer)"})
    write = folder / "9001_bad"
    write.mkdir()
    (write / "01_good.sql").write_text("create table {schema}.good (number integer)")
    (write / "02_bad.sql").write_text("select 1/0")

    with pytest.raises(PerdureError, match="division by zero"):
        await schema.apply(database_url)

    assert await steps(connection) == (1, True)
    assert await connection.fetchval("select to_regclass('perdure.good') is null")
    (write / "02_bad.sql").write_text("select 1")
    assert await schema.apply(database_url) == ["9001_bad"]


async def test_a_statement_timeout_of_the_user_does_not_end_a_migration(database_url: str, release: Release) -> None:
    release({"01_slow.sql": "select pg_sleep(1)", "02_slow.online.sql": "select pg_sleep(1)"})
    database = Database(database_url, command_timeout=0.9)

    async def apply() -> list[str]:
        async with database.session() as connection:
            await connection.execute("set statement_timeout = 900")
            return await Migrator(database).apply(connection)

    for _ in range(10):  # on a busy machine, another statement may take as long: then it goes on where it was
        with suppress(StoreUnavailableError, asyncpg.QueryCanceledError, TimeoutError):
            assert await apply() == [NEXT]
            return
    raise AssertionError
