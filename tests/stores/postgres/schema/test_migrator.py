"""The database defends itself, tells people what it holds, and is migrated under a lock."""

import asyncio
import sys
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import InvalidArgumentError, SchemaError, SchemaOutdatedError, SchemaTooNewError
from perdure.stores.postgres.notifier import channel_of
from perdure.stores.postgres.reader import Reader
from perdure.stores.postgres.schema.migrations import known_migrations
from perdure.stores.postgres.sql_files import Statements, fill_in
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import insert, notes, other_connection, texts

HOSTILE = [
    "o'br\"ien; drop schema x",
    "ünïcödé ☃",
    "x" * 63,
    "ß" * 31,
    "{schema_literal} {namespace} {schema}",
    "select",
    "Upper Case",
    "back\\slash % $1",
    "--comment /*",
    "line\nbreak",
]


async def test_events_are_never_changed_or_deleted(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    await store.append_to_stream("note-1", ANY, notes("kept"))
    for statement in (
        "update perdure.events set event_type = 'other'",
        "update perdure.events set event_type = 'other' where false",
        "delete from perdure.events",
        "truncate perdure.events",
        "truncate perdure.events cascade",
        "insert into perdure.events select * from perdure.events on conflict (event_id) do update set event_type = ''",
        "merge into perdure.events e using (select 1) on true when matched then delete",
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.execute(statement)
        assert refused.value.sqlstate in {"PD001", "428C9"}, statement  # the latter: a generated column is given

    assert texts(await store.read_all_events()) == ["kept"]


async def test_constraints_guard_versions_ids_and_json(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await insert(connection, "note-1", 1)
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(connection, "note-1", 1)
    with pytest.raises(asyncpg.CheckViolationError):
        await insert(connection, "note-1", 0)
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await insert(connection, "note-1", 2, '"')


async def test_people_can_ask_for_streams_categories_and_types(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    for stream, count in (("note-1", 3), ("note-2", 1), ("other-1", 1), ("no-1-2", 2)):
        await store.append_to_stream(stream, ANY, notes(*range(count)))
    last = {one.stream_id: one.recorded_at for one in await store.read_all_events()}

    streams = await connection.fetch("select stream_id, stream_version, last_updated from perdure.streams order by 1")
    assert [tuple(row) for row in streams] == [
        ("no-1-2", 2, last["no-1-2"]),
        ("note-1", 3, last["note-1"]),
        ("note-2", 1, last["note-2"]),
        ("other-1", 1, last["other-1"]),
    ]
    categories = await connection.fetch("select category, streams, events from perdure.categories order by 1")
    assert [tuple(row) for row in categories] == [("no", 1, 2), ("note", 2, 4), ("other", 1, 1)]
    types = await connection.fetch("select event_type, event_version, events from perdure.event_types")
    assert [tuple(row) for row in types] == [("test.races.noted", 1, 7)]
    assert await connection.fetchval("select event_data->>'text' from perdure.events where stream_version = 3") == "2"


# --- Migrations -------------------------------------------------------------------------------------------------------


async def applied(url: str, schema: str = "perdure") -> list[str]:
    async with other_connection(url) as connection:
        quoted = '"' + schema.replace('"', '""') + '"'
        return [row["name"] for row in await connection.fetch(f"select name from {quoted}.migrations order by number")]


async def test_a_fresh_database_is_migrated_and_that_is_recorded(empty_database_url: str) -> None:
    for _ in range(2):
        async with PostgreSQLEventStore(empty_database_url) as store:
            await store.append_to_stream("note-1", ANY, notes("a"))

    assert await applied(empty_database_url) == [migration.name for migration in known_migrations()]


async def test_many_tasks_and_processes_may_open_a_fresh_database_at_once(empty_database_url: str) -> None:
    program = """
import asyncio, sys
from perdure.stores.postgres.store import PostgreSQLEventStore
async def main():
    async with PostgreSQLEventStore(sys.argv[1]) as store:
        await store.read_all_events()
asyncio.run(main())
"""

    async def open_store() -> None:
        async with PostgreSQLEventStore(empty_database_url) as store:
            await store.append_to_stream("note-1", ANY, notes("a"))

    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty_database_url) for _ in range(3)
    ]
    await asyncio.gather(*[open_store() for _ in range(5)])
    assert [await process.wait() for process in processes] == [0, 0, 0]
    assert await applied(empty_database_url) == [migration.name for migration in known_migrations()]


async def test_a_missing_migration_is_an_error_where_none_may_be_applied(
    empty_database_url: str, database_url: str
) -> None:
    with pytest.raises(SchemaOutdatedError, match="open the store with migrate=True") as outdated:
        await PostgreSQLEventStore(empty_database_url, migrate=False).open()
    assert outdated.value.missing == tuple(migration.name for migration in known_migrations())
    async with PostgreSQLEventStore(database_url, migrate=False) as store:
        await store.append_to_stream("note-1", ANY, notes("a"))


@pytest.mark.parametrize("migrate", [False, True])
async def test_a_schema_of_a_newer_version_is_refused(
    database_url: str, connection: asyncpg.Connection, migrate: bool
) -> None:
    await connection.execute("insert into perdure.migrations (number, name) values (9999, '9999_future')")
    with pytest.raises(SchemaTooNewError, match="upgrade Perdure") as too_new:
        await PostgreSQLEventStore(database_url, migrate=migrate).open()
    assert (too_new.value.schema, too_new.value.found) == ("perdure", 9999)


async def test_a_migration_that_fails_leaves_nothing_behind(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("perdure.stores.postgres.schema.migrator.record", lambda *_: "select 1/0")
        with pytest.raises(Exception, match="division by zero"):
            await PostgreSQLEventStore(empty_database_url).open()
    async with other_connection(empty_database_url) as connection:
        assert await connection.fetchval("select to_regnamespace('perdure') is null")


async def test_a_damaged_schema_is_told_as_such(database_url: str, connection: asyncpg.Connection) -> None:
    async with PostgreSQLEventStore(database_url) as store:
        await connection.execute("drop schema perdure cascade")
        with pytest.raises(SchemaError, match="check migrations"):
            await store.read_all_events()
        with pytest.raises(SchemaError, match="check migrations"):
            await store.append_to_stream("note-1", ANY, notes("a"))


# --- Names ------------------------------------------------------------------------------------------------------------


async def test_a_schema_may_have_any_name(empty_database_url: str) -> None:
    for name in HOSTILE:
        async with PostgreSQLEventStore(empty_database_url, schema=name) as store, store.transaction() as tx:
            await store.append_to_stream("note-1", ANY, notes(name))
            await store.append_to_stream("note-2", ANY, notes(name), tx=tx)
            await tx.connection.execute("select pg_notify($1, '')", channel_of(name))
            assert (await anext(store.subscribe())).event.text == name
    async with other_connection(empty_database_url) as connection:
        schemas = {row[0] for row in await connection.fetch("select nspname from pg_namespace")}
    assert schemas >= set(HOSTILE)


async def test_stores_in_one_database_do_not_see_each_other(empty_database_url: str) -> None:
    async with (
        PostgreSQLEventStore(empty_database_url, schema="one") as one,
        PostgreSQLEventStore(empty_database_url, schema="two") as two,
    ):
        await one.append_to_stream("note-1", 0, notes("one"))
        await two.append_to_stream("note-1", 0, notes("two"))

        assert texts(await one.read_all_events()) == texts(await one.read_stream("note-1")) == ["one"]
        assert texts(await two.read_all_events()) == ["two"]
        async with other_connection(empty_database_url) as connection:
            namespaces = await connection.fetchrow("select one.store_namespace(), two.store_namespace()")
    assert namespaces is not None
    assert namespaces[0] != namespaces[1] or pytest.skip("drawn alike, once in 32,767 times")


@pytest.mark.parametrize("name", ["", "x" * 64, "ß" * 32, "a\x00b", "\ud800", "$$", "a$$b", 5, None])
def test_a_schema_name_that_can_not_be_is_refused(name: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        PostgreSQLEventStore("postgresql://localhost/x", schema=name)


def test_a_name_that_looks_like_a_placeholder_stays_as_it_is() -> None:
    assert fill_in("{a} {b} {c} {1}", a="{b}", b="{a}") == "{b} {a} {c} {1}"


def test_statements_are_a_mapping(tmp_path: Any) -> None:
    (tmp_path / "one.sql").write_text("select {schema}")
    statements = Statements(tmp_path, schema="x")

    assert dict(statements) == {"one": "select x"}
    assert len(statements) == 1


def test_a_channel_has_a_name_that_postgresql_takes() -> None:
    assert channel_of("perdure") == "perdure:perdure"
    assert max(len(channel_of(name).encode()) for name in HOSTILE) <= 63


# --- Plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan_mode", ["force_custom_plan", "force_generic_plan"])
async def test_every_hot_statement_uses_its_index(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, plan_mode: str
) -> None:
    await connection.execute("""
        insert into perdure.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select 'cat' || n % 175 || '-' || n % 700, n / 700 + 1, gen_random_uuid(), 'type' || n % 9, 1, '{}',
            '{"timestamp":"2026-01-01T00:00:00Z"}'
        from generate_series(0, 20999) n
    """)
    await connection.execute("analyze perdure.events")
    await connection.execute(f"set plan_cache_mode = {plan_mode}")
    seen = await connection.fetchval("select event_id from perdure.events where global_position = 20000")
    sql = Reader(store.database)._sql

    async def plan_of(name: str, *arguments: str) -> str:
        await connection.execute(f"prepare hot as {sql[name]}")
        try:
            rows = await connection.fetch(f"explain execute hot({', '.join(arguments)})")
            return "\n".join(row[0] for row in rows)
        finally:
            await connection.execute("deallocate hot")

    for name, arguments, index in (
        ("read_stream", ("'cat0-140'", "5", "500"), "events_stream_version"),
        ("read_stream", ("'cat0-140'", "5", "null"), "events_stream_version"),
        ("stream_version", ("'cat0-140'",), "events_stream_version"),
        ("read_log", ("20000", "500", "null", "null"), "events_pkey"),
        ("read_log", ("20000", "500", "20000", f"'{seen}'"), "events_pkey"),
        ("read_safe_log", ("20000", "20990", "500"), "events_pkey"),
        ("read_safe_log_of_types", ("20000", "20990", "500", "'{type3}'"), "events_pkey"),
        ("read_safe_log_of_category", ("10", "20990", "500", "'cat3'"), "events_category"),
        ("read_safe_log_of_category_and_types", ("10", "20990", "500", "'cat3'", "'{type3}'"), "events_category"),
    ):
        plan = await plan_of(name, *arguments)
        assert index in plan, f"{name}: {plan}"
        assert "Seq Scan" not in plan
        assert "Sort" not in plan or index != "events_pkey"  # a few events are fetched faster as they lie on the disk


async def test_event_ids_are_looked_up_by_their_index(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await connection.execute("""
        insert into perdure.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select 'note-' || n, 1, gen_random_uuid(), 'type', 1, '{}', '{"timestamp":"2026-01-01T00:00:00Z"}'
        from generate_series(1, 20000) n
    """)
    await connection.execute("analyze perdure.events")
    await connection.execute("select pg_stat_reset()")
    ids = [uuid4() for _ in range(3)]

    await connection.fetch("select * from perdure.find_appends(array['note-1'], array[1, 1, 1], $1)", ids)
    await connection.execute("select pg_stat_force_next_flush()")

    scanned = await connection.fetchval("select seq_tup_read from pg_stat_user_tables where relname = 'events'")
    assert scanned == 0
