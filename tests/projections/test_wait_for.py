"""`wait_for`: what a caller may rely on when it returns, whichever process runs the projection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from perdure.application import Application
from perdure.commit import ANY, AppendResult
from perdure.errors import (
    EventParkedError,
    InvalidArgumentError,
    ProjectionTimeoutError,
    StoreUnavailableError,
    UnknownProjectionError,
    WaitError,
)
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Broken, Moved
from tests.projections.parking_lot import FAILED, Guarded, guarded, page, until_parked, visit

Wait = Callable[..., Awaitable[None]]

LONG = 20


@pytest.fixture(params=["service", "operations", "application"])
def door(request: pytest.FixtureRequest) -> str:
    """From where a caller waits: the service that runs the projection, or another store."""
    found: str = request.param
    return found


def wait_of(door: str, service: ProjectionService, elsewhere: PostgreSQLEventStore) -> Wait:
    if door == "service":
        return service.wait_for
    if door == "operations":
        return ProjectionOperations(elsewhere).wait_for
    application = Application(elsewhere, projections=[Guarded()])
    application._store = elsewhere
    return application.wait_for


async def append(store: PostgreSQLEventStore, *events: Any) -> AppendResult:
    return await store.append_to_stream("x-1", ANY, list(events))


async def test_a_parked_event_is_not_shown(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, door: str
) -> None:
    async with guarded(store, Guarded("a")) as service:
        wait = wait_of(door, service, elsewhere)
        good = await append(store, visit("b"))
        await wait("guarded", good, timeout=LONG)
        bad = await append(store, Broken(page="a"))
        with pytest.raises(EventParkedError, match="a is bad") as caught:
            await wait("guarded", bad, timeout=LONG)
        error = caught.value
        assert (error.name, error.global_position, error.failed_position) == ("guarded", 2, 2)
        assert (error.key, error.error) == (page("a"), "RuntimeError: a is bad")
        (parked,) = await ProjectionOperations(store).parked("guarded")
        assert error.parked_at == parked.parked_at
        await wait("guarded", good, timeout=LONG)  # only the positions that are given count


async def test_an_event_behind_a_parked_one_is_not_shown_either(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, door: str
) -> None:
    async with guarded(store, Guarded("a")) as service:
        wait = wait_of(door, service, elsewhere)
        await append(store, Broken(page="a"))
        waiting = await append(store, visit("a"))
        with pytest.raises(EventParkedError, match="waits behind") as caught:
            await wait("guarded", waiting, timeout=LONG)
        assert (caught.value.global_position, caught.value.failed_position) == (2, 1)
        assert caught.value.error == "RuntimeError: a is bad"


async def test_all_positions_of_a_list_of_results_count(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, door: str
) -> None:
    """Such a list is the result of `execute_all` and `save_all`; an aggregate without events has None there."""
    async with guarded(store, Guarded("a")) as service:
        wait = wait_of(door, service, elsewhere)
        bad = await append(store, visit("b"), Broken(page="a"), visit("b"))
        good = await append(store, visit("b"))
        await wait("guarded", [good, None, good], timeout=LONG)
        for saved in ([good, None, bad], (bad,), bad, bad.global_positions, bad.global_positions[1]):
            with pytest.raises(EventParkedError) as caught:
                await wait("guarded", saved, timeout=LONG)
            assert caught.value.global_position == 2
        await wait("guarded", bad.global_position, timeout=LONG)  # a bare number is one position
        for nothing in (None, [], [None, None]):
            await wait("guarded", nothing, timeout=0)


async def test_an_event_is_shown_only_when_it_is_shown_for_all_of_its_keys(store: PostgreSQLEventStore) -> None:
    async with guarded(store, Guarded("b")) as service:
        await append(store, visit("b"), visit("a"))
        moved = await append(store, Moved(source="a", target="b"))
        with pytest.raises(EventParkedError) as caught:
            await service.wait_for("guarded", moved, timeout=LONG)
        assert caught.value.key == page("b")


async def test_an_event_that_an_operator_skipped_counts_as_processed(store: PostgreSQLEventStore) -> None:
    async with guarded(store, Guarded("a")) as service:
        bad = await append(store, Broken(page="a"))
        await until_parked(service, store, (1, page("a"), FAILED))
        await ProjectionOperations(store).skip("guarded", 1, "a test")
        await service.wait_for("guarded", bad, timeout=LONG)


async def test_a_retry_that_was_asked_for_is_waited_for(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, door: str
) -> None:
    operations, projection = ProjectionOperations(store), Guarded("a")
    async with guarded(store, projection) as service:
        wait = wait_of(door, service, elsewhere)
        bad = await append(store, Broken(page="a"), visit("a"))
        await until_parked(service, store, (1, page("a"), FAILED), (2, page("a"), "waiting"))
        await operations.retry("guarded")
        with pytest.raises(EventParkedError):  # it fails again
            await wait("guarded", bad, timeout=LONG)
        projection.bad.clear()
        await operations.retry("guarded")
        await wait("guarded", bad, timeout=LONG)
        await until_parked(service, store)


async def test_a_retry_that_no_process_makes_ends_with_the_parked_event(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore
) -> None:
    async with guarded(store, Guarded("a")) as service:
        bad = await append(store, Broken(page="a"))
        await until_parked(service, store, (1, page("a"), FAILED))
    await ProjectionOperations(store).retry("guarded")
    with pytest.raises(EventParkedError, match="a retry is due"):
        await ProjectionOperations(elsewhere).wait_for("guarded", bad, timeout=0.05)


async def test_only_the_build_that_the_views_show_counts(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """An event may be parked in a build that is being made or kept, and not in the shown one; or the other way."""
    async with guarded(store, Guarded("a")) as service:
        bad = await append(store, Broken(page="a"))
        await until_parked(service, store, (1, page("a"), FAILED))
        good = ProjectionOperations(store)
        await connection.execute(
            "insert into perdure.projections (name, version, build, table_schema, shape, is_shown, stage) "
            "select name, version, 2, table_schema, shape, false, 'retained' from perdure.projections"
        )
        await connection.execute(
            "insert into perdure.projection_segments (name, version, build, first_hash, last_hash, global_position) "
            "values ('guarded', 1, 2, 0, 65535, 5)"
        )
        with pytest.raises(EventParkedError):
            await good.wait_for("guarded", bad, timeout=LONG)
        await connection.execute("update perdure.projections set is_shown = false where build = 1")
        await connection.execute("update perdure.projections set is_shown = true where build = 2")
        await good.wait_for("guarded", bad, timeout=LONG)
        await service.wait_for("guarded", bad, timeout=LONG)


async def test_a_service_waits_for_a_projection_that_another_process_runs(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore
) -> None:
    async with guarded(store, Guarded()), ProjectionService(elsewhere, []) as other:
        saved = await append(elsewhere, visit("a"))
        await other.wait_for("guarded", saved, timeout=LONG)


async def test_an_application_waits_for_a_projection_that_no_process_has_set_up_yet(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore
) -> None:
    """The web process may be up before the worker."""
    application = Application(elsewhere, projections=[Guarded()])
    async with application.connect():
        saved = await append(elsewhere, visit("a"))
        with pytest.raises(ProjectionTimeoutError, match="is its service running"):
            await application.wait_for("guarded", saved, timeout=0)
        with pytest.raises(UnknownProjectionError) as caught:
            await application.wait_for("guardd", saved)
        assert caught.value.known == ("guarded",)
        waiting = asyncio.create_task(application.wait_for("guarded", saved, timeout=LONG))
        async with guarded(store, Guarded()):
            await waiting


async def test_a_position_that_the_log_has_not_reached_is_waited_for(store: PostgreSQLEventStore) -> None:
    async with guarded(store, Guarded()) as service:
        with pytest.raises(ProjectionTimeoutError) as caught:
            await service.wait_for("guarded", 3, timeout=0)
        assert caught.value.lag == 3
        waiting = asyncio.create_task(service.wait_for("guarded", 3, timeout=LONG))
        await append(store, visit("a"), visit("a"), visit("a"))
        await waiting


@pytest.mark.parametrize("timeout", [0, 0.05])
async def test_a_database_that_does_not_answer_is_given_up_after_the_time_out(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, connection: asyncpg.Connection, timeout: float
) -> None:
    async with guarded(store, Guarded()) as service:
        saved = await append(store, visit("a"))
        await service.wait_for("guarded", saved, timeout=LONG)
    async with connection.transaction():
        await connection.execute("lock table perdure.projections in access exclusive mode")
        async with asyncio.timeout(LONG):
            with pytest.raises(ProjectionTimeoutError, match="the database, which doesn't answer"):
                await ProjectionOperations(elsewhere).wait_for("guarded", saved, timeout=timeout)
    await ProjectionOperations(elsewhere).wait_for("guarded", saved, timeout=LONG)


async def test_a_database_that_is_away_is_a_time_out_and_never_hides_that_the_write_is_stored(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*args: Any) -> Any:
        raise StoreUnavailableError("can't reach the database")

    saved = await append(store, visit("a"))
    monkeypatch.setattr("perdure.projections.runtime.progress.read_shown_rows", unreachable)
    with pytest.raises(ProjectionTimeoutError, match="1 position short of 1: it is held up by: can't reach") as caught:
        await ProjectionOperations(store).wait_for("guarded", saved, timeout=0)

    assert isinstance(caught.value, WaitError)
    assert caught.value.is_transient


@pytest.mark.parametrize("saved", [True, -1, 1.5, "1", b"1", [[1]], [True], {1: 2}, object()])
async def test_other_values_are_refused(store: PostgreSQLEventStore, saved: Any) -> None:
    async with guarded(store, Guarded()) as service:
        with pytest.raises(InvalidArgumentError, match="saved"):
            await service.wait_for("guarded", saved)
