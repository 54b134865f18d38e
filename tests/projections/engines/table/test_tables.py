"""Tables and views in PostgreSQL: their columns, and that values come back as they went in."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from perdure.commit import ANY
from perdure.errors import ProjectionDefinitionError
from perdure.events import event, handles
from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import RowChanges
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold
from tests.projections.counting import Pages, Visited


class Colour(Enum):
    RED = "red"
    NONE = 'it\'s "none"'


class Size(IntEnum):
    SMALL = 1


class Point(msgspec.Struct):
    x: float
    label: str | None = None


class Everything(msgspec.Struct, kw_only=True):
    key: str
    text: str
    whole: int
    real: float
    truth: bool
    exact: Decimal
    moment: datetime
    day: date
    identity: UUID
    colour: Colour
    size: Size
    kind: Literal["a", "b"]
    maybe: str | None
    maybe_moment: datetime | None
    words: list[str]
    gaps: list[int | None]
    reals: list[float]
    moments: list[datetime]
    unique: set[str]
    row: tuple[int, ...]
    nested: Point
    points: list[Point] | None
    table: dict[str, int | None]
    anything: Any


@event("test.projections.everything_set")
class EverythingSet:
    key: str


class Everythings(TableProjection[Everything], table="everything", key="key"):
    @handles
    def set(self, event: EverythingSet, row: Everything | None) -> Everything | None:
        return row


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
whole = st.integers(-(2**63), 2**63 - 1)
real = st.floats(allow_nan=False, allow_infinity=False)
exact = st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e30"), max_value=Decimal("1e30"))
zones = st.timezones() | st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=45)))
moment = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones)  # noqa: DTZ001 - zones are drawn
point = st.builds(Point, x=real, label=st.none() | text)
json = st.recursive(
    st.none() | st.booleans() | text | real, lambda inner: st.lists(inner) | st.dictionaries(text, inner)
)
everything = st.builds(
    Everything,
    key=text,
    text=text,
    whole=whole,
    real=real,
    truth=st.booleans(),
    exact=exact,
    moment=moment,
    day=st.dates(),
    identity=st.uuids(),
    colour=st.sampled_from(Colour),
    size=st.sampled_from(Size),
    kind=st.sampled_from(["a", "b"]),
    maybe=st.none() | text,
    maybe_moment=st.none() | moment,
    words=st.lists(text, max_size=3),
    gaps=st.lists(st.none() | whole, max_size=3),
    reals=st.lists(real, max_size=3),
    moments=st.lists(moment, max_size=2),
    unique=st.sets(text, max_size=3),
    row=st.lists(whole, max_size=2).map(tuple),
    nested=point,
    points=st.none() | st.lists(point, max_size=2),
    table=st.dictionaries(text, st.none() | whole, max_size=2),
    anything=json,
)


async def round_trip(connection: asyncpg.Connection, rows: Iterable[Everything]) -> tuple[list[Any], list[Any]]:
    """Rows as a handler would be given them before they were in the database, and after."""
    definition = TableDefinition(Everythings())
    storage, table = TableStorage(definition, "public"), definition.table
    changes = RowChanges({})
    for row in rows:
        changes.put(table, table.to_key(row.key), table.codec.encode(row))
    await connection.execute("truncate public.everything__v1")
    await storage.write(connection, changes)
    written = changes.written[table.name]
    loaded = (await storage.load(connection, {table.name: dict.fromkeys(written)}))[table.name]
    assert written.keys() == loaded.keys()
    return (
        [table.codec.decode(row) for row in written.values()],
        [table.codec.decode(loaded[key]) for key in written],
    )


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain})
@given(rows=st.lists(everything, min_size=1, max_size=2))
async def test_values_come_back_as_they_went_in(everything_table: asyncpg.Connection, rows: list[Everything]) -> None:
    kept, loaded = await round_trip(everything_table, rows)

    assert loaded == kept
    # Equal isn't enough: a handler that formats a value must see the same text whatever the batches were.
    assert [repr(msgspec.structs.replace(row, unique=set())) for row in loaded] == [
        repr(msgspec.structs.replace(row, unique=set())) for row in kept
    ]


@pytest.fixture
async def everything_table(connection: asyncpg.Connection) -> asyncpg.Connection:
    # Settings of a session that would change how values look.
    await connection.execute("set timezone = 'Asia/Kathmandu'")
    await connection.execute("set datestyle = 'SQL, DMY'")
    await TableStorage(TableDefinition(Everythings()), "public").create(connection)
    return connection


async def test_columns_have_the_types_of_the_fields(everything_table: asyncpg.Connection) -> None:
    columns = await everything_table.fetch(
        "select attname::text, format_type(atttypid, atttypmod), attnotnull from pg_attribute "
        "where attrelid = 'public.everything__v1'::regclass and attnum > 0 order by attnum"
    )

    assert {name: kind + ("" if is_required else "?") for name, kind, is_required in columns} == {
        "key": "text",
        "text": "text",
        "whole": "bigint",
        "real": "double precision",
        "truth": "boolean",
        "exact": "numeric",
        "moment": "timestamp with time zone",
        "day": "date",
        "identity": "uuid",
        "colour": "text",
        "size": "bigint",
        "kind": "text",
        "maybe": "text?",
        "maybe_moment": "timestamp with time zone?",
        "words": "text[]",
        "gaps": "bigint[]",
        "reals": "double precision[]",
        "moments": "json",
        "unique": "text[]",
        "row": "bigint[]",
        "nested": "json",
        "points": "json?",
        "table": "json",
        "anything": "json?",
    }


HOSTILE = "o'br\"ien; drop table x; --"


@dataclass
class Hostile:
    key: str
    größe: int = 0  # noqa: PLC2401 - the point: any name that Python takes


@event("test.projections.hostile")
class HostileHappened:
    key: str


class HostileNames(TableProjection[Hostile], table=HOSTILE, key="key"):
    @handles
    def happened(self, event: HostileHappened, row: Hostile | None) -> Hostile:
        row = row or Hostile(event.key)
        row.größe += 1
        return row


@pytest.mark.parametrize("schema", ["public", HOSTILE, "{table}", "Capital", "select"])
async def test_names_are_quoted_wherever_they_go(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, schema: str
) -> None:
    async with ProjectionService(store, [HostileNames()], schema=schema) as service:
        texts = [HOSTILE, "{key}", "\\", "ü"] * 2
        saved = await store.append_to_stream("x-1", ANY, [HostileHappened(key=text) for text in texts])
        await service.wait_for(HOSTILE, saved.global_position, 30)
        (status,) = await service.status()

    quoted = '"' + schema.replace('"', '""') + '"."' + HOSTILE.replace('"', '""') + '"'
    rows = await connection.fetch(f"select * from {quoted}")
    assert {row["key"]: row["größe"] for row in rows} == {HOSTILE: 2, "{key}": 2, "\\": 2, "ü": 2}
    assert (status.name, status.state) == (HOSTILE, "running")


async def test_a_name_like_a_placeholder_stays_as_it_is(store: PostgreSQLEventStore) -> None:
    class Placeholder(HostileNames, table="{columns}", key="key"):
        pass

    async with ProjectionService(store, [Placeholder()]) as service:
        saved = await store.append_to_stream("x-1", ANY, [HostileHappened(key="a")])
        await service.wait_for("{columns}", saved.global_position, 30)

        assert await store.database.fetch_value('select key from "{columns}"') == "a"


async def test_tables_can_be_in_another_schema(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    async with ProjectionService(store, [Pages()], schema="reading") as service:
        saved = await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
        await service.wait_for("pages", saved.global_position, 30)

    assert await connection.fetchval("select visits from reading.pages") == 1
    with pytest.raises(ProjectionDefinitionError, match="its tables are in schema 'reading'"):
        await ProjectionService(store, [Pages()]).start()


async def test_a_user_without_rights_on_the_database_needs_none_once_the_schema_is_there(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """CREATE SCHEMA IF NOT EXISTS asks for the right to create before it looks."""
    statements: list[str] = []
    definition = TableDefinition(Pages())

    class Recording:
        async def fetchval(self, *arguments: Any) -> Any:
            return await connection.fetchval(*arguments)

        async def execute(self, statement: str) -> None:
            statements.append(statement)

    await TableStorage(definition, "public").create(Recording())  # type: ignore[arg-type] # all that it uses

    assert [statement for statement in statements if "create schema" in statement] == []


@pytest.mark.parametrize("name", ["pages", "pages__v1", "pages_visitors"])
async def test_an_existing_table_or_view_of_the_same_name_is_left_alone(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, name: str
) -> None:
    await connection.execute(f"create table {name} (precious text)")

    with pytest.raises(ProjectionDefinitionError, match=f"'{name}' exists already"):
        await ProjectionService(store, [Pages()]).start()

    assert await connection.fetch(f"select precious from {name}") == []
    assert await connection.fetch("select * from perdure.projections") == []


async def test_the_rows_in_the_database_are_those_of_a_fold_in_memory(store: PostgreSQLEventStore) -> None:
    events = [Visited(page=f"p{n % 3}", visitor=f"v{n % 4}", seconds=n) for n in range(20)]
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, events)
        await service.wait_for("pages", saved.global_position, 30)

    rows = {row["page"]: dict(row) for row in await store.database.fetch("select * from pages")}
    expected = fold(Pages(), await store.read_all_events())
    assert rows == {key: vars(row) for key, row in expected.items()}
