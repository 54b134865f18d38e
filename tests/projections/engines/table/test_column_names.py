"""Columns may have any name, also one that statements use for a row: a column comes before the row of that name."""

from dataclasses import dataclass

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.events import event, handles
from perdure.projection import ProjectionTransaction, SQLProjection, TableProjection
from perdure.projections.check import check_projection
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.rebuilding import until_ready, until_shown

pytestmark = pytest.mark.usefixtures("quick_rebuilds")


@event("test.column_names.noted")
class Noted:
    name: str
    text: str


@dataclass
class Note:
    name: str
    stored: str
    one: str = "1"
    other: str = "2"
    t: str = "3"
    asked: str = "4"
    after: str = "5"
    found: str = "6"
    scan: str = "7"
    place: str = "8"
    number: int = 9
    rows: int = 10
    excluded: str = "11"
    moved: str = "12"
    changes: int = 0


class Notes(TableProjection[Note], table="notes", key="name", indexes=["stored"]):
    @handles
    def noted(self, event: Noted, row: Note | None) -> Note:
        return Note(event.name, event.text, changes=row.changes + 1 if row else 0)


async def test_rows_with_columns_of_any_name_are_written_read_checked_and_compared(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Notes()]) as service:
        await store.append_to_stream("x-1", ANY, [Noted(name=name, text="first") for name in "ab"])
        await service.wait_for("notes", 2, timeout=30)
        saved = await store.append_to_stream("x-1", ANY, [Noted(name=name, text="second") for name in "ab"])
        await service.wait_for("notes", saved, timeout=30)  # the rows were loaded

        expected = [Note("a", "second", changes=1), Note("b", "second", changes=1)]
        assert (await Notes.find(store, stored="second")).rows == expected
        assert await Notes.get(store, "a") == expected[0]
        assert await Notes.get(store, "a", at_position=saved.global_position) == expected[0]
        await ProjectionOperations(store).rebuild("notes")
        await until_shown(store, BuildId("notes", 1, 2))
        await connection.execute("update notes__v1_2 set changes = 7 where name = 'a'")
        (found,) = (await check_projection(store, Notes())).differences
        assert found.keys == ('{"name":"a"}',)
        await ProjectionOperations(store).rebuild("notes")
        status = await until_ready(store, BuildId("notes", 1, 3))
        assert [each.keys for each in status.differences] == [('{"name":"a"}',)]


class Totals(SQLProjection, name="totals"):
    tables = {"totals": "create table {totals} (t text primary key, total bigint not null)"}

    @handles
    def noted(self, event: Noted, tx: ProjectionTransaction) -> None:
        tx.execute(
            "insert into {totals} as had values ($1, 1) on conflict (t) do update set total = had.total + 1", event.name
        )


async def test_tables_of_an_sql_projection_are_compared_by_all_columns(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Totals()]) as service:
        saved = await store.append_to_stream("x-1", ANY, [Noted(name="a", text=""), Noted(name="b", text="")])
        await service.wait_for("totals", saved, timeout=30)
        await connection.execute("update totals__v1 set total = 99 where t = 'a'")
        await ProjectionOperations(store).rebuild("totals")
        status = await until_ready(store, BuildId("totals", 1, 2))
        assert status.stage == "ready"
        assert [each.differing for each in status.differences] == [2]
