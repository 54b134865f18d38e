"""What came of a retry of parked events: handled, failed again, withdrawn, or not retried yet."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import InvalidArgumentError, UnknownProjectionError
from perdure.events import handles
from perdure.projections.operations import ProjectionOperations, RetryOutcome
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.patience import patience
from tests.projections.counting import Broken, Page
from tests.projections.parking_lot import Guarded, guarded, page, until_processed, visit

pytestmark = pytest.mark.usefixtures("quick_beats")


class Fragile(Guarded, table="fragile", key="page", on_failure="park"):
    """Also fails for a page that was broken before."""

    @handles
    def broken(self, event: Broken, row: Page | None) -> Page | None:
        found = super().broken(event, row)
        if found is not None and len(found.path) > 1:
            raise RuntimeError(f"{event.page} was broken before")
        return found


async def park(store: PostgreSQLEventStore, projection: Guarded) -> None:
    async with guarded(store, projection) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), visit("a"), Broken(page="b")])
        await until_processed(service, "guarded", saved, timeout=patience(30))


async def test_what_failed_again_is_told_apart_from_what_is_handled(store: PostgreSQLEventStore) -> None:
    projection = Fragile("a", "b")
    operations = ProjectionOperations(store)
    async with guarded(store, projection) as service:
        events = [Broken(page="a"), Broken(page="a"), Broken(page="b")]
        saved = await store.append_to_stream("x-1", ANY, events)
        await until_processed(service, "fragile", saved, timeout=patience(30))
        projection.bad.remove("a")
        outcome = await operations.retry_and_wait("fragile", timeout=patience(30))
        projection.bad.clear()
        last = await operations.retry_and_wait("fragile", key=page("b"), timeout=patience(30))

    assert (outcome.asked, outcome.handled, outcome.pending, outcome.is_success) == (2, 1, 0, False)
    assert [(one.global_position, one.failure and one.failure.message) for one in outcome.failed] == [
        (2, "a was broken before"),  # it had waited behind the one that is handled
        (3, "b is bad"),
    ]
    assert last == RetryOutcome(asked=1, handled=1)
    assert last.is_success


async def test_what_waits_behind_a_handled_event_is_waited_for(store: PostgreSQLEventStore) -> None:
    await park(store, projection := Guarded("a", "b"))
    operations = ProjectionOperations(store)
    projection.bad.clear()
    async with guarded(store, projection):
        outcome = await operations.retry_and_wait("guarded", timeout=patience(30))

    assert outcome == RetryOutcome(asked=2, handled=2)
    assert await operations.parked("guarded", states=None) == []


async def test_what_nothing_retries_is_pending_and_stays_requested(store: PostgreSQLEventStore) -> None:
    await park(store, Guarded("a", "b"))
    operations = ProjectionOperations(store)

    assert await operations.retry_and_wait("guarded", timeout=0) == RetryOutcome(asked=2, pending=2)
    assert await operations.retry_and_wait("guarded", key=page("none"), timeout=0) == RetryOutcome(asked=0)
    spaced = page("a").replace(":", " : ")
    assert await operations.retry_and_wait("guarded", key=spaced, timeout=0) == RetryOutcome(asked=1, pending=1)
    with pytest.raises(InvalidArgumentError, match=r"^key is 'a', but is written as in ParkedEvent.key"):
        await operations.retry_and_wait("guarded", key="a", timeout=0)
    assert [one.is_retry_requested for one in await operations.parked("guarded")] == [True, True]
    with pytest.raises(UnknownProjectionError):
        await operations.retry_and_wait("guardd")


async def until_requested(operations: ProjectionOperations) -> None:
    while True:
        if any(one.is_retry_requested for one in await operations.parked("guarded")):
            return
        await asyncio.sleep(0.01)


async def skip(operations: ProjectionOperations, _: asyncpg.Connection) -> None:
    await operations.skip("guarded", 3, "a test")


async def delete_build(_: ProjectionOperations, connection: asyncpg.Connection) -> None:
    await connection.execute("delete from perdure.projections where name = 'guarded'")


@pytest.mark.parametrize("withdraw", [skip, delete_build])
async def test_what_is_withdrawn_meanwhile_is_not_taken_for_handled(
    store: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    withdraw: Callable[[ProjectionOperations, asyncpg.Connection], Awaitable[None]],
) -> None:
    await park(store, Guarded("a", "b"))
    operations = ProjectionOperations(store)

    async with asyncio.timeout(patience(30)):
        retry = asyncio.create_task(operations.retry_and_wait("guarded", key=page("b"), timeout=patience(60)))
        await until_requested(operations)
        await withdraw(operations, connection)

        assert await retry == RetryOutcome(asked=1, withdrawn=1)
