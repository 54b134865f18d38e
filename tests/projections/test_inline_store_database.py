"""A store with inline projections has the database of the store inside: whatever asks for a database takes it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import UnsupportedOperationError
from perdure.events import StoredEvent, event, handles
from perdure.health import live, ready
from perdure.projection import TableProjection
from perdure.projections.check import check_projection
from perdure.projections.inline_store import InlineProjections
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.store import EventStore
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.connections.database import database_of
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Pages, Visited
from tests.stores.postgres.races import until

PATIENCE = 60.0


@event("test.inline.switched")
class Switched:
    is_on: bool


@dataclass
class Lamp:
    lamp_id: str
    is_on: bool


class Lamps(TableProjection[Lamp], table="lamps", key="lamp_id", by_stream="lamp"):
    @handles
    def switched(self, event: Switched, row: Lamp | None, at: StoredEvent) -> Lamp:
        return Lamp(at.stream_id.removeprefix("lamp-"), event.is_on)


@pytest.fixture
async def inline(store: PostgreSQLEventStore) -> AsyncIterator[InlineProjections]:
    async with InlineProjections(store, [Lamps()]) as inline:
        yield inline


async def test_its_database_is_that_of_the_store_inside(inline: InlineProjections, store: PostgreSQLEventStore) -> None:
    assert inline.database is store.database
    assert database_of(inline) is store.database


async def test_a_store_without_a_database_has_none() -> None:
    store: EventStore = InMemoryEventStore()

    assert store.database is None
    with pytest.raises(UnsupportedOperationError, match="InMemoryEventStore has no PostgreSQL database: use a"):
        database_of(store)


async def test_a_store_that_was_never_opened_is_not_alive(database_url: str) -> None:
    inner = PostgreSQLEventStore(database_url)

    assert (await live(inner)).state == "failed"
    assert (await live(InlineProjections(inner, [Lamps()]))).state == "failed"


async def test_a_store_in_memory_that_was_closed_is_not_alive() -> None:
    store = InMemoryEventStore()
    assert (await live(store)).state == "ok"
    await store.close()

    assert (await live(store)).state == "failed"


async def test_health_checks_the_database_of_the_store_inside(inline: InlineProjections) -> None:
    assert [check.name for check in (await ready(inline, timeout=PATIENCE)).checks] == [
        "tasks",
        "database",
        "schema",
        "listener",
    ]
    assert (await ready(inline, timeout=PATIENCE)).is_ok
    assert (await live(inline)).is_ok


async def test_a_process_is_not_ready_while_the_inline_projections_do_not_catch_up(inline: InlineProjections) -> None:
    async def fail() -> None:
        raise KeyError("injected")

    assert inline._catch_up is not None
    await inline._catch_up.start(fail, "perdure projection builds")

    health = await ready(inline, timeout=PATIENCE)
    assert [check.name for check in health.checks if check.state == "failed"] == ["tasks"]
    assert (await live(inline)).is_ok


async def test_health_says_when_the_schema_inside_does_not_fit(
    inline: InlineProjections, connection: asyncpg.Connection
) -> None:
    await connection.execute("insert into perdure.migrations (number, name) values (9999, 'later')")
    await until(lambda: inline.is_listening is True)

    states = {check.name: check.state for check in (await ready(inline, timeout=PATIENCE)).checks}
    assert states == {"tasks": "ok", "database": "ok", "schema": "failed", "listener": "ok"}


async def test_a_service_runs_projections_beside_the_inline_ones(inline: InlineProjections) -> None:
    async with ProjectionService(inline, [Pages()]) as service:
        saved = await inline.append_to_stream("x-1", ANY, [Visited(page="p1", visitor="ann")])
        await service.wait_for("pages", saved, timeout=30)

        found = await ProjectionOperations(inline).status()
        check = await check_projection(inline, Pages())

    assert {one.name for one in found} >= {"pages"}
    assert (check.rows, check.differences) == (2, ())


async def test_operations_wake_those_who_follow_it(inline: InlineProjections) -> None:
    async with ProjectionService(inline, [Pages()]):
        before = inline.changes.count
        await ProjectionOperations(inline).pause("pages")

        assert inline.changes.count > before
