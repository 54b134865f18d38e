"""What a writer, a reader and a projector may do, logged in, with the real store; and what they can't."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

import perdure
from perdure import ProjectionService, Repository, schema
from perdure.commit import ANY, NO_STREAM, StreamAppend
from perdure.errors import (
    ConfigurationError,
    OptimisticConcurrencyError,
)
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Pages, Visited
from tests.repository.accounts import Account
from tests.schema.roles import new_role
from tests.stores.postgres.races import notes, other_connection, texts, until


async def denied(connection: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)


# --- A writer ---------------------------------------------------------------------------------------------------------


async def test_a_writer_appends_in_every_way_and_reads(writer: str) -> None:
    async with perdure.connect(writer) as store:
        await store.append_to_stream("note-1", NO_STREAM, notes("a", "b"))
        await store.append_to_stream("note-1", 2, notes("c"))
        with pytest.raises(OptimisticConcurrencyError):
            await store.append_to_stream("note-1", 2, notes("late"))
        await store.append_to_streams([StreamAppend("note-2", ANY, notes("d")), StreamAppend("note-3", 0, notes("e"))])
        async with store.transaction() as tx:
            await store.append_to_stream("note-2", 1, notes("f"), tx=tx)
            await store.append_to_streams([StreamAppend("note-4", 0, notes("g"))], tx=tx)

        assert texts(await store.read_all_events()) == list("abcdefg")
        assert texts(await store.read_all_events(category="note")) == list("abcdefg")
        assert texts(await store.read_all_events_backwards()) == list("gfedcba")
        follower = store.subscribe()
        assert texts([await anext(follower) for _ in range(7)]) == list("abcdefg")
        coming = asyncio.create_task(anext(follower))
        await until(lambda: bool(store.head.waiting))
        await store.append_to_stream("note-1", ANY, notes("h"))
        assert (await coming).event.text == "h"


async def test_appends_of_a_writer_share_batches(writer: str) -> None:
    async with perdure.connect(writer) as store:
        await asyncio.gather(*[store.append_to_stream(f"note-{n % 7}", ANY, notes(n)) for n in range(200)])

        assert len(await store.read_all_events()) == 200


async def test_a_writer_keeps_snapshots(writer: str, connection: asyncpg.Connection) -> None:
    async with perdure.connect(writer) as store:
        accounts = Repository(Account, store, snapshot_every=2)
        await accounts.execute("1", lambda account: account.open("ann"))
        for _ in range(4):
            await accounts.execute("1", lambda account: account.deposit(1))
        assert (await accounts.get("1")).balance == 4

    assert await connection.fetchval("select stream_version from perdure.snapshots") >= 4


COLUMNS = "(stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)"
VALUES = "'note-9', 1, gen_random_uuid(), 'x', 1, '{}', '{}'"
AROUND = {
    "insert": f"insert into perdure.events {COLUMNS} values ({VALUES})",
    "insert at a position": f"insert into perdure.events (global_position, {COLUMNS[1:]} overriding system value "
    f"values (1, {VALUES})",
    "upsert": f"insert into perdure.events {COLUMNS} values ({VALUES}) on conflict do nothing",
    "update": "update perdure.events set event_type = 'other'",
    "delete": "delete from perdure.events",
    "truncate": "truncate perdure.events",
    "merge": f"merge into perdure.events e using (select 1) on false when not matched then insert {COLUMNS} "
    f"values ({VALUES})",
    "merge delete": "merge into perdure.events e using (select 1) on true when matched then delete",
    "lock rows": "select 1 from perdure.events for update",
    "lock": "do $$ begin lock table perdure.events in share mode; end $$",
    "alter": "alter table perdure.events drop column metadata",
    "unlogged": "alter table perdure.events set unlogged",
    "drop": "drop table perdure.events",
    "disable triggers": "alter table perdure.events disable trigger all",
    "drop a trigger": "drop trigger events_refuse_change on perdure.events",
    "act as a replica": "set session_replication_role = replica",
    "add a trigger": "create trigger mine before insert on perdure.events for each row "
    "execute function suppress_redundant_updates_trigger()",
    "add a rule": "create rule mine as on insert to perdure.events do instead nothing",
    "hide rows": "alter table perdure.events enable row level security",
    "index": "create index mine on perdure.events (event_type)",
    "set the sequence": "select setval('perdure.global_position', 1)",
    "draw a position": "select nextval('perdure.global_position')",
    "alter the sequence": "alter sequence perdure.global_position cache 100",
    "shadow a function": "create function perdure.hashtext(text) returns integer return 1",
    "shadow a table": "create table perdure.pg_locks (pid integer)",
    "replace a function": "create or replace function perdure.store_namespace() returns integer return 1",
    "unpin a function": "alter function perdure.append_group reset search_path",
    "drop a function": "drop function perdure.append_group",
    "compare repeats": "select perdure.find_repeats("
    "array['note-1'], array[]::integer[], array[]::uuid[], array[]::text[], array[]::smallint[], array[]::json[])",
    "look ids up": "select perdure.find_appends(array['note-1'], array[]::integer[], array[]::uuid[])",
    "call a trigger's function": "select perdure.hold_position()",
    "forge a grant": "insert into perdure.roles (role, kind) values (current_user, 'projector')",
    "forge a migration": "insert into perdure.migrations (number, name) values (9999, 'x')",
    "delete a snapshot": "delete from perdure.snapshots",
    "truncate snapshots": "truncate perdure.snapshots",
    "move a checkpoint": "update perdure.projections set is_shown = false",
    "rename": "alter schema perdure rename to mine",
    "drop all": "drop schema perdure cascade",
}


async def refused_ways(url: str) -> list[str]:
    """The ways around the functions that the database refused, for lack of a right."""
    refused = []
    async with other_connection(url) as session:
        for way, statement in AROUND.items():
            try:
                await session.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                refused.append(way)
    return refused


async def test_a_writer_can_not_write_around_the_functions(writer: str) -> None:
    async with perdure.connect(writer) as store:
        await store.append_to_stream("note-1", ANY, notes("kept"))

        assert await refused_ways(writer) == list(AROUND)

        assert texts(await store.read_all_events()) == ["kept"]


async def test_a_writer_can_not_give_itself_more(database_url: str, writer: str) -> None:
    async with other_connection(writer) as session:
        # PostgreSQL warns, and grants nothing.
        await session.execute("grant all on perdure.events, perdure.snapshots to current_user with grant option")
        await session.execute("grant insert on perdure.events to public")
        await denied(session, AROUND["delete"])

    assert await schema.verify(database_url) == []


async def test_a_writer_can_not_copy_into_the_log(writer: str) -> None:
    row = ("note-9", 1, uuid4(), "x", 1, "{}", "{}")
    names = COLUMNS.strip("()").split(", ")
    async with other_connection(writer) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.copy_records_to_table("events", schema_name="perdure", records=[row], columns=names)
        await denied(connection, "copy perdure.events from program 'true'")


async def test_a_writer_can_not_become_the_owner(writer: str, connection: asyncpg.Connection) -> None:
    owner = await connection.fetchval("select nspowner::regrole::text from pg_namespace where nspname = 'perdure'")
    async with other_connection(writer) as session:
        await denied(session, f"set role {owner}")
        await denied(session, f"alter schema perdure owner to {urlsplit(writer).username}")


SHADOWS = {
    "hashtext(text) returns integer": "hashtext($1)",
    "set_config(text, text, boolean) returns text": "set_config($1, $2, $3)",
    "cardinality(text[]) returns integer": "cardinality($1)",
    "cardinality(uuid[]) returns integer": "cardinality($1)",
    "pg_advisory_xact_lock(integer, integer) returns void": "pg_advisory_xact_lock($1, $2)",
    "pg_advisory_xact_lock_shared(bigint) returns void": "pg_advisory_xact_lock_shared($1)",
    "pg_try_advisory_xact_lock(integer, integer) returns boolean": "pg_try_advisory_xact_lock($1, $2)",
    "pg_sequence_last_value(regclass) returns bigint": "pg_sequence_last_value($1)",
    "current_setting(text) returns text": "current_setting($1)",
    "split_part(text, text, integer) returns text": "split_part($1, $2, $3)",
    "clock_timestamp() returns timestamptz": "clock_timestamp()",
    "texteq(text, text) returns boolean": "texteq($1, $2)",
    "int4eq(integer, integer) returns boolean": "int4eq($1, $2)",
    "int4pl(integer, integer) returns integer": "int4pl($1, $2)",
}
OPERATORS = (("=", "texteq", "text"), ("=", "int4eq", "integer"), ("+", "int4pl", "integer"))


async def set_traps(connection: asyncpg.Connection, role: str) -> None:
    """Put functions and operators of a role's own in front of PostgreSQL's: they note as whom they are called."""
    await connection.execute(
        f"create schema trap authorization {role}; alter role {role} set search_path = trap, pg_catalog"
    )
    await connection.execute("create table public.caught (who name); grant insert on public.caught to public")
    for signature, call in SHADOWS.items():
        statement = "perform" if signature.endswith("void") else "return"
        await connection.execute(f"""
            create function trap.{signature} language plpgsql as $$
            begin
                insert into public.caught values (current_user);
                {statement} pg_catalog.{call};
            end $$
        """)
    for operator, function, kind in OPERATORS:
        await connection.execute(
            f"create operator trap.{operator} (function = trap.{function}, leftarg = {kind}, rightarg = {kind})"
        )


async def test_nothing_of_a_writer_runs_with_the_rights_of_the_owner(
    writer: str, connection: asyncpg.Connection
) -> None:
    role = urlsplit(writer).username or ""
    await set_traps(connection, role)
    async with perdure.connect(writer) as store:
        await asyncio.gather(*[store.append_to_stream("note-1", ANY, notes(n)) for n in range(20)])
        with pytest.raises(OptimisticConcurrencyError):
            await store.append_to_stream("note-1", 2, notes("late"))
        await store.append_to_streams([StreamAppend("note-2", ANY, notes("d")), StreamAppend("note-3", 0, notes("e"))])
        async with store.transaction() as tx:
            for name in ("text", "uuid", "json", "record", "events"):
                await tx.connection.execute(f"create temp table {name} (trapped integer)")
            await store.append_to_stream("note-2", 1, notes("f"), tx=tx)
            await store.append_to_streams([StreamAppend("note-4", 0, notes("g"))], tx=tx)

    caught = {row["who"] for row in await connection.fetch("select distinct who from public.caught")}
    assert caught == {role}  # it fell into its own traps, and nobody else did
    assert await connection.fetchval("select count(*) from perdure.events") == 24


# --- A reader ---------------------------------------------------------------------------------------------------------


async def test_a_reader_reads_and_follows(reader: str, store: PostgreSQLEventStore) -> None:
    async with perdure.connect(reader) as readers:
        follower = readers.subscribe(category="note")
        following = asyncio.create_task(anext(follower))
        await store.append_to_stream("note-1", ANY, notes("a", "b"))

        assert (await following).event.text == "a"
        assert texts(await readers.read_stream("note-1")) == ["a", "b"]
        assert texts(await readers.read_all_events(recorded_from=datetime(2020, 1, 1, tzinfo=UTC))) == ["a", "b"]
        assert texts(await readers.read_all_events_backwards()) == ["b", "a"]
        assert await readers.stored_types() != []
        assert await readers.read_snapshot("note-1") is None


async def test_a_reader_can_ask_every_table_and_view(reader: str, connection: asyncpg.Connection) -> None:
    names = await connection.fetch("""
        select c.oid::regclass::text from pg_class c
        where c.relnamespace = 'perdure'::regnamespace and c.relkind in ('r', 'v')
    """)
    async with other_connection(reader) as session:
        for (name,) in names:
            await session.fetch(f"select * from {name}")


async def test_a_reader_writes_nothing(reader: str) -> None:
    assert await refused_ways(reader) == list(AROUND)
    async with other_connection(reader) as session:
        for change in ("update perdure.snapshots set state = '{}'", "insert into perdure.snapshots default values"):
            await denied(session, change)


async def test_a_reader_can_not_append(reader: str) -> None:
    async with perdure.connect(reader) as store:
        with pytest.raises(ConfigurationError, match="permission denied for function append_event"):
            await store.append_to_stream("note-1", ANY, notes("a"))
        with pytest.raises(ConfigurationError, match="permission denied for function append_group"):
            await store.append_to_streams([StreamAppend("note-1", ANY, notes("a"))])
        with pytest.raises(ConfigurationError, match="permission denied for function append_group"):
            async with store.transaction() as tx:
                await store.append_to_stream("note-1", ANY, notes("a"), tx=tx)


# --- Nobody in particular ---------------------------------------------------------------------------------------------


async def test_who_was_granted_nothing_may_do_nothing(database_url: str, connection: asyncpg.Connection) -> None:
    async with new_role(database_url) as (role, url):
        with pytest.raises(ConfigurationError, match="permission denied for schema"):
            await PostgreSQLEventStore(url).open()
        # Even who may see the schema may call nothing in it.
        await connection.execute(f"grant usage on schema perdure to {role}")
        functions = await connection.fetch(
            """
            select p.oid from pg_proc p
            where p.pronamespace = 'perdure'::regnamespace and has_function_privilege($1, p.oid, 'execute')
        """,
            role,
        )
        assert functions == []


# --- A projector ------------------------------------------------------------------------------------------------------


async def test_a_projector_keeps_read_models_in_a_schema_of_its_own(
    database_url: str, store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with new_role(database_url) as (role, url):
        await schema.grant(database_url, role, "projector")
        await connection.execute(f"create schema read_models authorization {role}")
        appended = await store.append_to_stream("page-1", ANY, [Visited(page="home", visitor="ann")])
        async with (
            perdure.connect(url) as projectors,
            ProjectionService(projectors, [Pages()], schema="read_models") as service,
        ):
            await service.wait_for("pages", appended.global_position, timeout=20)
            with pytest.raises(ConfigurationError, match="permission denied"):
                await projectors.append_to_stream("page-1", ANY, [Visited(page="home", visitor="ann")])
        assert await connection.fetchval("select visits from read_models.pages") == 1


async def test_rights_add_up_and_are_taken_back_together(database_url: str, store: PostgreSQLEventStore) -> None:
    async with new_role(database_url) as (role, url):
        for kind in ("projector", "writer", "writer"):
            await schema.grant(database_url, role, kind)
        assert await schema.grants(database_url) == [schema.Grant(role, "projector"), schema.Grant(role, "writer")]
        assert await schema.verify(database_url) == []
        async with perdure.connect(url) as both:
            await both.append_to_stream("note-1", ANY, notes("a"))
            await both.database.fetch("update perdure.projections set is_shown = is_shown")

        await schema.revoke(database_url, role)

        assert await schema.grants(database_url) == []
        assert await schema.verify(database_url) == []
        with pytest.raises(ConfigurationError, match="permission denied"):
            await PostgreSQLEventStore(url).open()
