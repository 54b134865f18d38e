"""A full check: the rows against a fresh fold of the log."""

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import InvalidArgumentError, UnknownBuildError, UnsupportedOperationError
from perdure.projections.check import check_projection
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.repository import RetryConfig
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Broken, Closed, Pages
from tests.projections.parking_lot import Guarded, until_processed
from tests.projections.rebuilding import visits


@pytest.mark.parametrize("max_rows", [1, 7, 200_000])
async def test_rows_that_follow_from_the_log_are_found_equal_in_any_number_of_passes(
    store: PostgreSQLEventStore, max_rows: int
) -> None:
    async with ProjectionService(store, [Pages()], segments=3) as service:
        saved = await store.append_to_stream("x-1", ANY, [*visits(40), Closed(page="p1"), *visits(3)])
        await service.wait_for("pages", saved, timeout=30)
        check = await check_projection(store, Pages(), max_rows=max_rows)

    assert check.differences == ()
    assert (check.version, check.build, check.global_position) == (1, 1, saved.global_position)
    assert check.rows == await store.database.fetch_value(
        "select (select count(*) from pages) + (select count(*) from pages_visitors)"
    )


@pytest.mark.parametrize("max_rows", [1, 200_000])
async def test_rows_that_were_changed_by_hand_are_found(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, max_rows: int
) -> None:
    async with ProjectionService(store, [Pages()], segments=2) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(40))
        await service.wait_for("pages", saved, timeout=30)
    await connection.execute("update pages__v1 set visits = 99 where page = 'p1'")
    await connection.execute("delete from pages__v1 where page = 'p2'")
    await connection.execute("insert into pages_visitors__v1 values ('p3', 'nobody', 1)")

    pages, visitors = (await check_projection(store, Pages(), max_rows=max_rows)).differences
    assert (pages.table, pages.rows, pages.expected_rows, pages.differing) == ("pages", 4, 5, 2)
    assert sorted(pages.keys) == ['{"page":"p1"}', '{"page":"p2"}']
    assert (visitors.table, visitors.differing, visitors.keys) == (
        "pages_visitors",
        1,
        ('{"page":"p3","visitor":"nobody"}',),
    )


async def test_what_is_parked_is_left_out(store: PostgreSQLEventStore) -> None:
    retry = RetryConfig(max_attempts=1, base_delay=0)
    async with ProjectionService(store, [Guarded("p1")], retry=retry) as service:
        saved = await store.append_to_stream("x-1", ANY, [*visits(5), Broken(page="p1"), *visits(5)])
        await until_processed(service, Guarded.name, saved, timeout=30)
        assert len(await ProjectionOperations(store).parked(Guarded.name, states=None)) > 1
        assert (await check_projection(store, Guarded("p1"))).differences == ()


async def test_what_can_not_be_checked_is_refused(store: PostgreSQLEventStore) -> None:
    with pytest.raises(UnsupportedOperationError):
        await check_projection(InMemoryEventStore(), Pages())
    with pytest.raises(UnknownBuildError, match="it has: none"):
        await check_projection(store, Pages())
    with pytest.raises(InvalidArgumentError, match="max_rows"):
        await check_projection(store, Pages(), max_rows=0)
