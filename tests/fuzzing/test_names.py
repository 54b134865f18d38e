"""Names of schemas, tables and projections: any that isn't refused where it is given works, and is a name only."""

from typing import Any

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import PerdureError, PostgreSQLEventStore, ProjectionService
from perdure.stores.postgres.sql_files import quote_identifier
from tests.bad_input.test_hostile_names import SCHEMAS, Named, named_projection, relations
from tests.bad_input.values import HOSTILE_NAMES
from tests.fuzzing.payloads import TROUBLE

names = st.one_of(
    st.sampled_from(HOSTILE_NAMES),
    TROUBLE.texts,
    st.text(min_size=40, max_size=70),
    st.text("\"'$%{};-\\. éx0", min_size=1, max_size=20),
)


@settings(max_examples=settings().max_examples // 3)
@given(table=names, schema=st.sampled_from(["public", "read models", 'a"b']) | names)
async def test_a_projection_of_any_name_in_any_schema_keeps_its_rows_or_is_refused(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, table: str, schema: str
) -> None:
    saved = await store.append_to_stream("note-1", len(await store.read_stream("note-1")), [Named(name="x")])
    before = await relations(connection), sorted(await schemas(connection))
    service: Any = None
    try:
        projection = named_projection(table)
        service = ProjectionService(store, [projection], schema=schema)
        await service.start()
    except PerdureError:
        assert (await relations(connection), sorted(await schemas(connection))) == before
        return
    try:
        await service.wait_for(table, saved.global_position)
        rows = await connection.fetch(f"select name from {quote_identifier(schema)}.{quote_identifier(table)}")
        assert [row[0] for row in rows] == ["x"]
        assert set(await schemas(connection)) == {*before[1], schema}
    finally:
        await service.stop()


@settings(max_examples=settings().max_examples // 8)  # to make a schema takes a moment
@given(schema=names)
async def test_a_store_in_a_schema_of_any_name_works_or_is_refused(
    empty_database_url: str, connection: asyncpg.Connection, schema: str
) -> None:
    try:
        store = PostgreSQLEventStore(empty_database_url, schema=schema)
    except PerdureError:
        return
    async with store:
        version = await store.stream_version("note-1")
        await store.append_to_stream("note-1", version, [Named(name=schema)])
        assert [one.event.name for one in await store.read_stream("note-1", version)] == [schema]
        assert schema in [row[0] for row in await store.database.fetch(SCHEMAS)]


async def schemas(connection: asyncpg.Connection) -> list[str]:
    return [row[0] for row in await connection.fetch(SCHEMAS)]
