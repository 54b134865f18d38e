"""No two stores of a database share the number of their locks: it is drawn apart, and a copy is refused and mended."""

import asyncio

import asyncpg
import pytest

from perdure import schema
from perdure.commit import ANY
from perdure.errors import InvalidArgumentError, NamespaceSharedError, SchemaError
from perdure.stores.postgres.schema import namespaces
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.schema.holders import refused
from tests.schema.roles import new_role
from tests.stores.postgres.races import insert, notes, other_connection, positions, until_waiting

NUMBER = "create function {name}.store_namespace() returns integer language sql immutable parallel safe return {number}"


async def with_number(connection: asyncpg.Connection, name: str, number: object) -> None:
    """A schema that holds nothing but the function that tells its number."""
    await connection.execute(f"create schema {name}; {NUMBER.format(name=name, number=number)}")


async def number_of(connection: asyncpg.Connection, name: str) -> int:
    return int(await connection.fetchval(f"select {name}.store_namespace()"))


async def copied(url: str, connection: asyncpg.Connection, original: str, copy: str, name: str | None = None) -> None:
    """A store in another schema, as a dump of the original that was restored under that name."""
    await schema.apply(url, schema=name or copy)
    number = await number_of(connection, original)
    await connection.execute(f"""
        create or replace function {copy}.store_namespace() returns integer
            language sql immutable parallel safe return {number};
        create or replace function {copy}.store_schema() returns text
            language sql immutable parallel safe return 'original';
    """)


# --- Drawing ----------------------------------------------------------------------------------------------------------


async def test_a_number_is_drawn_that_no_other_schema_has(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "NUMBERS", [*range(1, 302)])
    async with other_connection(empty_database_url) as connection:
        for number in range(1, 301):
            await with_number(connection, f"tenant_{number}", number)

        await schema.apply(empty_database_url)

        assert await number_of(connection, "perdure") == 301
        with pytest.raises(SchemaError, match="other schemas of the database have all 301"):
            await schema.apply(empty_database_url, schema="one_too_many")


async def test_three_hundred_numbers_are_all_different(empty_database_url: str) -> None:
    async with other_connection(empty_database_url) as connection:
        drawing = namespaces.Namespaces("perdure")
        for n in range(300):
            async with connection.transaction():
                await with_number(connection, f"tenant_{n}", await drawing.draw(connection))
        found = await connection.fetch(drawing._sql["taken"])

    assert len(found) == 300
    assert not {row["number"] for row in found} & {736, 737, 738, 739}


async def test_those_that_draw_at_once_draw_one_after_the_other(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "NUMBERS", [7])
    async with other_connection(empty_database_url) as connection, other_connection(empty_database_url) as watch:
        async with connection.transaction():
            await with_number(connection, "first", await namespaces.Namespaces("first").draw(connection))
            second = asyncio.create_task(schema.apply(empty_database_url, schema="second", lock_timeout=30))
            await until_waiting(watch, 1, second)
            assert not second.done()

        with pytest.raises(SchemaError, match="have all 1"):
            await second


async def test_a_script_with_a_number_that_is_taken_makes_nothing(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await connection.execute(schema.script(schema="first", namespace=5))

    with pytest.raises(asyncpg.PostgresError, match="schema first has the number 5"):
        await connection.execute(schema.script(schema="second", namespace=5))

    await connection.execute("rollback")
    assert await connection.fetchval("select to_regnamespace('second')") is None
    async with PostgreSQLEventStore(database_url, schema="first", migrate=False) as store:
        await store.append_to_stream("note-1", ANY, notes("a"))


@pytest.mark.parametrize("number", [736, 737, 738, 739])
def test_numbers_of_other_locks_are_refused(number: int) -> None:
    with pytest.raises(InvalidArgumentError, match="other locks"):
        schema.script(namespace=number)


# --- Copies -----------------------------------------------------------------------------------------------------------


async def test_a_copy_is_refused_and_mended_and_then_neither_holds_up_the_other(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    await copied(database_url, connection, "perdure", "copy")

    with pytest.raises(NamespaceSharedError, match="--schema copy db renumber") as refused:
        await PostgreSQLEventStore(database_url, schema="copy").open()
    assert (refused.value.schema, refused.value.others) == ("copy", ("perdure",))
    async with PostgreSQLEventStore(database_url) as original:  # never the original
        await original.append_to_stream("note-1", ANY, notes("a"))

    number = await schema.renumber(database_url, schema="copy")

    assert number == await number_of(connection, "copy") != await number_of(connection, "perdure")
    assert await schema.verify(database_url, schema="copy") == await schema.verify(database_url) == []
    async with PostgreSQLEventStore(database_url, schema="copy") as copy, store.transaction() as tx:
        await store.append_to_stream("note-open", ANY, notes("open"), tx=tx)
        await copy.append_to_stream("note-1", ANY, notes("1"))
        await copy.append_to_stream("note-2", ANY, notes("2"))
        assert await positions(copy, category="note") == [1, 2]  # filtered: that takes the fence


async def test_verify_finds_a_number_that_is_shared(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    await copied(database_url, connection, "perdure", "copy")

    for name, other in (("perdure", "copy"), ("copy", "perdure")):
        drift = await schema.verify(database_url, schema=name)
        assert f"that of schema {other!r}" in {one.found for one in drift}


@pytest.mark.parametrize("name", ["restored", 'It\'s \\ "odd".x', "ümläut"])
async def test_a_store_that_is_alone_with_its_number_opens_under_another_name_and_is_the_original_from_then_on(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection, name: str
) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    await copied(database_url, connection, "perdure", quoted, name)
    await connection.execute("drop schema perdure cascade")

    async with PostgreSQLEventStore(database_url, schema=name) as restored:
        await restored.append_to_stream("note-1", ANY, notes("a"))
        assert await positions(restored, category="note") == [1]

    assert await connection.fetchval(f"select {quoted}.store_schema()") == name
    assert await schema.verify(database_url, schema=name) == []
    await copied(database_url, connection, quoted, "copy")
    async with PostgreSQLEventStore(database_url, schema=name):
        pass
    with pytest.raises(NamespaceSharedError):
        await PostgreSQLEventStore(database_url, schema="copy").open()


async def test_a_schema_whose_functions_lead_to_another_one_is_refused(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    # Functions name the schema for which they were made, so those of a renamed copy would append to the original.
    await connection.execute("alter schema perdure rename to renamed")

    for attempt in (
        PostgreSQLEventStore(database_url, schema="renamed").open,
        lambda: schema.renumber(database_url, schema="renamed"),
    ):
        with pytest.raises(SchemaError, match="name another schema"):
            await attempt()


async def test_of_two_that_both_claim_a_number_the_older_one_keeps_it(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    await copied(database_url, connection, "perdure", "copy")
    await connection.execute("create or replace function copy.store_schema() returns text immutable return 'copy'")

    async with PostgreSQLEventStore(database_url):
        pass
    with pytest.raises(NamespaceSharedError):
        await PostgreSQLEventStore(database_url, schema="copy").open()


async def test_functions_of_other_schemas_are_never_called_and_odd_ones_do_no_harm(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    number = await number_of(connection, "perdure")
    await with_number(connection, "long", "+".join(["1"] * 2000))
    await with_number(connection, "large", "99999999999::bigint::integer")
    await with_number(connection, "guest", number)
    await connection.execute("""
        create schema evil; create table evil.called (n integer);
        create function evil.store_namespace() returns integer language plpgsql
            as $$ begin insert into evil.called values (1); return 1; end $$;
        create function evil.store_schema() returns text language plpgsql
            as $$ begin insert into evil.called values (1); return 'evil'; end $$;
    """)

    async with PostgreSQLEventStore(database_url) as again:
        await again.append_to_stream("note-1", ANY, notes("a"))

    assert await connection.fetchval("select count(*) from evil.called") == 0
    await copied(database_url, connection, "perdure", "copy")
    await connection.execute("drop schema perdure cascade")
    with pytest.raises(NamespaceSharedError, match="'guest'"):
        await PostgreSQLEventStore(database_url, schema="copy").open()


async def test_a_role_without_rights_elsewhere_is_told_of_a_copy(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    await copied(database_url, connection, "perdure", "copy")
    async with new_role(database_url) as (role, url):
        await schema.grant(database_url, role, "writer", schema="copy")
        with pytest.raises(NamespaceSharedError, match="'perdure'"):
            await PostgreSQLEventStore(url, schema="copy").open()


# --- Renumbering while others are connected ---------------------------------------------------------------------------


async def test_sessions_that_have_planned_with_the_old_number_use_the_new_one(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    for n in range(10):  # functions keep one plan after five calls
        await store.append_to_stream(f"note-{n}", ANY, notes(n))
        await asyncio.gather(*[store.append_to_stream(f"note-{n}-{m}", ANY, notes(m)) for m in range(2)])
        async with store.transaction() as tx:
            await store.append_to_stream(f"note-tx-{n}", ANY, notes(n), tx=tx)
        await positions(store, category="note")
    last = (await positions(store))[-1]

    number = await schema.renumber(database_url)

    async with store.transaction() as tx:
        await store.append_to_stream("note-open", ANY, notes("open"), tx=tx)
        locks = await connection.fetch("""
            select distinct case objsubid when 1 then classid::bigint >> 16 else classid::bigint end as number
            from pg_locks
            where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
        """)
        assert [row["number"] for row in locks] == [number]
        await store.append_to_stream("note-behind", ANY, notes("behind"))
        assert await positions(store, category="note") == [*range(1, last + 1)]  # none beyond the open gap


@pytest.mark.parametrize("kind", ["append", "fence"])
async def test_it_waits_for_transactions_that_use_the_old_number_and_names_them(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection, kind: str
) -> None:
    before = await number_of(connection, "perdure")
    async with other_connection(database_url) as other, other.transaction():
        if kind == "fence":
            await other.fetch("select * from perdure.safe_position()")
        else:
            await other.execute(
                "insert into perdure.events (stream_id, stream_version, event_id, event_type, "
                "event_version, event_data, metadata) values "
                "('a-1', 1, gen_random_uuid(), 'a', 1, '{}', '{\"timestamp\":\"2026-01-01T00:00:00Z\"}')"
            )

        error = await refused(lambda limit: schema.renumber(database_url, lock_timeout=limit, timeout=0.01), 0.1)
        assert {holder.pid for holder in error.holders} == {other.get_server_pid()}

        waiting = asyncio.create_task(schema.renumber(database_url, lock_timeout=30))
        await until_waiting(connection, 1, waiting)
        assert not waiting.done()

    assert await waiting == await number_of(connection, "perdure") != before


async def test_an_insert_that_begins_meanwhile_is_fenced_under_the_new_number(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    async with other_connection(database_url) as looking, other_connection(database_url) as writing:
        look = looking.transaction()
        await look.start()
        await looking.fetch("select * from perdure.safe_position()")
        renumbering = asyncio.create_task(schema.renumber(database_url, lock_timeout=30))
        await until_waiting(connection, 1, renumbering)
        async with writing.transaction():
            inserting = asyncio.create_task(insert(writing, "note-1", 1))
            await until_waiting(connection, 2, renumbering, inserting)
            await look.rollback()
            number = await renumbering
            await inserting

            held = await connection.fetch(
                """
                select classid::bigint >> 16 as number from pg_locks
                where locktype = 'advisory' and objsubid = 1 and pid = $1
            """,
                writing.get_server_pid(),
            )
            assert [row["number"] for row in held] == [number]
