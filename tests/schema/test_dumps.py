"""What each release wrote can be upgraded: a dump with data of each baseline and migration is restored and opened."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure import NewEvent, schema
from perdure.projections.inline_store import InlineProjections
from perdure.projections.operations import ProjectionOperations
from perdure.stores.postgres.schema.migrations import known_migrations
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.schema.dumped import REQUEST, ROLE, Moved, Parcels, ordered, orders
from tests.schema.roles import new_role
from tests.stores.postgres.races import other_connection

DUMPS = sorted((Path(__file__).parent / "dumps").glob("*.sql"))
PATIENCE = 60.0

pytestmark = pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)


@pytest.fixture
async def url(empty_database_url: str, dump: Path) -> AsyncIterator[str]:
    """A database to which the dump was restored. A role of this test's own has the rights that it grants."""
    async with new_role(empty_database_url) as (role, _), other_connection(empty_database_url) as connection:
        text = await asyncio.to_thread(dump.read_text, "utf-8")
        await connection.execute(text.replace(ROLE, role))
        yield empty_database_url


async def test_every_table_has_data(url: str) -> None:
    async with other_connection(url) as connection:
        tables = await connection.fetch(
            "select tablename from pg_tables where schemaname = 'perdure' and tablename <> 'projection_runners'"
        )
        counts = {
            name: await connection.fetchval(f'select count(*) from perdure."{name}"') for (name,) in map(tuple, tables)
        }
    assert len(counts) >= 10
    assert [name for name, count in counts.items() if count == 0] == []


async def test_it_is_upgraded_and_sound(url: str) -> None:
    await schema.apply(url)

    assert await schema.verify(url) == []
    assert [grant.kind for grant in await schema.grants(url)] == ["writer"]
    assert (await schema.plan(url)).migrations == ()


async def test_its_events_are_read_and_the_log_goes_on(url: str) -> None:
    async with PostgreSQLEventStore(url) as store:
        before = await store.read_all_events()
        assert [one.event for one in before[:3]] == [
            ordered("1", "pen", 2),
            ordered("1", "ink"),
            ordered("2", "broken"),
        ]
        assert before[2].metadata.correlation_id == str(REQUEST)
        assert before[2].metadata.headers == {"client": "web"}
        assert await store.read_snapshot("order-3") is not None
        repeated = await store.append_to_stream("order-3", 1, [NewEvent(before[4].event, event_id=before[4].event_id)])
        assert repeated.global_position == before[4].global_position
        added = await store.append_to_stream("order-1", 2, [ordered("1", "paper")])
        assert added.global_position > before[-1].global_position


async def test_its_projections_go_on(url: str) -> None:
    async with PostgreSQLEventStore(url) as store:
        operations = ProjectionOperations(store)
        [parked] = [one for one in await operations.parked("orders") if one.state == "failed"]
        assert parked.stream_id == "order-3"
        assert {action.action for action in await operations.actions("orders")} >= {"paused", "skipped"}
        await operations.resume("orders")
        added = await store.append_to_stream("order-1", 2, [ordered("1", "paper", 4)])
        async with orders(store) as service:
            await service.wait_for("orders", added, timeout=PATIENCE)
        async with other_connection(url) as connection:
            assert await connection.fetchval("select articles from orders where \"order\" = '1'") == 7


async def test_its_inline_projections_go_on(url: str) -> None:
    async with PostgreSQLEventStore(url) as plain, InlineProjections(plain, [Parcels()]) as store:
        await store.append_to_stream("parcel-7", 2, [Moved(to="Kiel")])
        async with other_connection(url) as connection:
            row = await connection.fetchrow("select place, moves from parcels where parcel_id = '7'")
    assert row is not None
    assert tuple(row) == ("Kiel", 3)


def test_the_newest_migration_has_a_dump(dump: Path) -> None:
    names = [migration.name for migration in known_migrations()]

    assert dump.stem in names
    assert names[-1] in [one.stem for one in DUMPS], "run: python -m tests.schema.write_dump"
