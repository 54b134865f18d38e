"""Names that look like SQL, or like something else: where they are legal they are data, and work from end to end."""

from __future__ import annotations

from dataclasses import dataclass
from types import new_class
from typing import Any

import asyncpg
import pytest

import perdure
from perdure import ANY, PostgreSQLEventStore, ProjectionService, TableProjection, context, handles
from perdure.stores.postgres.sql_files import quote_identifier
from tests.bad_input.values import HOSTILE_NAMES
from tests.stores.postgres.races import other_connection

TABLES = r"""
select format('%s.%s', relnamespace::regnamespace, relname) from pg_class
where relnamespace::regnamespace::text not like 'pg\_%' and relnamespace <> 'information_schema'::regnamespace
"""

SCHEMAS = r"select nspname from pg_namespace where nspname not like 'pg\_%' and nspname <> 'information_schema'"


async def relations(connection: asyncpg.Connection) -> set[str]:
    """All tables, views, indexes and sequences of the database."""
    return {row[0] for row in await connection.fetch(TABLES)}


@dataclass
class Seen:
    name: str
    count: int = 0


async def test_streams_metadata_and_filters_hold_any_name(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    before = await relations(connection)
    for name in HOSTILE_NAMES:
        category = name.replace("-", "+")
        with context(correlation_id=name, causation_id=name, user_id=name, headers={name: name}):
            await store.append_to_stream(f"{category}-{name}", 0, [Named(name=name)])

        [stored] = await store.read_stream(f"{category}-{name}")
        metadata = stored.metadata
        assert (stored.event.name, metadata.user_id, metadata.headers) == (name, name, {name: name})
        for found in (await store.read_all_events(category=category), await store.read_all_events(correlation_id=name)):
            assert [one.event_id for one in found] == [stored.event_id]
        assert await store.read_all_events(event_types=[name]) == []

    assert len(await store.read_all_events()) == len(HOSTILE_NAMES)
    assert await relations(connection) == before


@pytest.mark.usefixtures("own_registry")
async def test_event_types_bear_any_name_without_white_space(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    before = await relations(connection)
    names = ["".join(name.split()) for name in HOSTILE_NAMES if name.strip()]
    for name in names:
        kind: Any = perdure.event(name)(type("Kind", (), {"__qualname__": name}))
        await store.append_to_stream("note-1", ANY, [kind()])

        [stored] = await store.read_all_events(event_types=[name])
        assert isinstance(stored.event, kind)

    assert {one.event_type for one in await store.stored_types()} == set(names)
    assert await relations(connection) == before


@pytest.mark.parametrize("name", HOSTILE_NAMES[:7])  # the worst: making a schema takes a moment
async def test_a_store_and_its_read_models_live_in_schemas_of_any_name(empty_database_url: str, name: str) -> None:
    projection, other = named_projection(name[:50]), f"{name[:36]}$$ '"
    async with PostgreSQLEventStore(empty_database_url, schema=name) as store:
        saved = await store.append_to_stream("note-1", 0, [Named(name=name)])
        async with ProjectionService(store, [projection], schema=other) as service:
            await service.wait_for(projection.name, saved.global_position)
        assert [one.event.name for one in await store.read_stream("note-1")] == [name]

    async with other_connection(empty_database_url) as connection:
        rows = await connection.fetch(
            f"select name, count from {quote_identifier(other)}.{quote_identifier(name[:50])}"
        )
        assert [tuple(row) for row in rows] == [(name, 1)]
        assert {row["nspname"] for row in await connection.fetch(SCHEMAS)} == {name, other, "public"}


def named_projection(table: str) -> TableProjection[Seen]:
    """A projection whose table has that name."""
    cls: Any = new_class("Hostile", (Counts,), {"table": table, "key": "name"})
    projection: TableProjection[Seen] = cls()
    return projection


@perdure.event("test.bad_input.named")
class Named:
    name: str


class Counts(TableProjection[Seen]):
    @handles
    def named(self, event: Named, row: Seen | None) -> Seen:
        return Seen(event.name, (row.count if row else 0) + 1)
