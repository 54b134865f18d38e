"""The service: it follows the log, tells how projections are, and starts and stops in order."""

import asyncio
import inspect
from dataclasses import dataclass, fields
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import (
    InvalidArgumentError,
    ProjectionDefinitionError,
    ProjectionShapeError,
    ProjectionTimeoutError,
    UnknownProjectionError,
    UnsupportedOperationError,
    WrongContextError,
)
from perdure.events import event, handles, registry
from perdure.projection import TableProjection
from perdure.projections.engines.table.processor import TableProcessor
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from perdure.projections.state.options import RunnerOptions
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold
from tests.projections.counting import Closed, Ignored, Page, Pages, Totals, Visited
from tests.projections.rebuilding import builds, until, until_shown


def visits(count: int, pages: int = 3) -> list[Visited]:
    return [Visited(page=f"p{n % pages}", visitor=f"v{n % 5}") for n in range(count)]


async def total_visits(store: PostgreSQLEventStore) -> int:
    total: int = await store.database.fetch_value("select coalesce(sum(visits), 0)::int from pages")
    return total


# --- Following --------------------------------------------------------------------------------------------------------


def test_the_options_of_a_runner_have_the_defaults_of_the_service() -> None:
    offered = {name: option.default for name, option in inspect.signature(ProjectionService).parameters.items()}
    used = {option.name: option.default for option in fields(RunnerOptions) if option.name != "retry"}

    assert {name: offered[name] for name in used} == used


async def test_what_was_saved_can_be_read_after_waiting(store: PostgreSQLEventStore, database_url: str) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        for count in range(1, 4):
            saved = await store.append_to_stream("x-1", ANY, visits(2))
            await service.wait_for("pages", saved, timeout=30)
            assert await total_visits(store) == 2 * count

    await check_against_fold(store, database_url, Pages())


async def test_what_is_there_already_is_caught_up(store: PostgreSQLEventStore, database_url: str) -> None:
    saved = await store.append_to_stream("x-1", ANY, visits(25))

    async with ProjectionService(store, [Pages()], batch_size=7) as service:
        await service.wait_for("pages", saved, timeout=30)

    assert await check_against_fold(store, database_url, Pages()) == saved.global_position


async def test_appends_of_other_processes_are_heard(store: PostgreSQLEventStore, database_url: str) -> None:
    async with ProjectionService(store, [Pages()]) as service, PostgreSQLEventStore(database_url) as elsewhere:
        saved = await elsewhere.append_to_stream("x-1", ANY, visits(3))
        await service.wait_for("pages", saved, timeout=30)


async def test_events_that_are_not_handled_move_the_checkpoint(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, [Ignored(page="a")] * 3)
        await service.wait_for("pages", saved, timeout=30)
        (status,) = await service.status()

    assert (status.global_position, status.lag, await total_visits(store)) == (saved.global_position, 0, 0)


async def test_events_of_types_without_a_class_pass_by(store: PostgreSQLEventStore) -> None:
    @event("test.projections.gone")
    class Gone:
        pass

    async with ProjectionService(store, [Pages()]) as service:
        await store.append_to_stream("x-1", ANY, [Gone()])
        registry._by_name.pop("test.projections.gone")
        saved = await store.append_to_stream("x-1", ANY, visits(1))
        await service.wait_for("pages", saved, timeout=30)


async def test_a_gap_that_stays_does_not_hold_it_up(store: PostgreSQLEventStore, database_url: str) -> None:
    """The checkpoint stands at events only, so that it can be checked against the log."""
    async with ProjectionService(store, [Pages()]) as service:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with store.transaction() as tx:
                    await store.append_to_stream("x-2", ANY, visits(2), tx=tx)
                    raise ZeroDivisionError
            saved = await store.append_to_stream("x-1", ANY, visits(2))
            await service.wait_for("pages", saved, timeout=30)

    async with ProjectionService(store, [Pages()]):
        await check_against_fold(store, database_url, Pages())


async def test_each_projection_follows_for_itself(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Pages(), Totals()]) as service:
        saved = await store.append_to_stream("x-1", ANY, [Ignored(page="a"), Closed(page="a")])
        for name in ("pages", "totals"):
            await service.wait_for(name, saved, timeout=30)

        assert [(status.name, status.lag) for status in await service.status()] == [("pages", 0), ("totals", 0)]


# --- Asking -----------------------------------------------------------------------------------------------------------


async def test_waiting_in_vain_ends_with_the_lag(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(2))
        await service.wait_for("pages", saved, timeout=30)
        with pytest.raises(ProjectionTimeoutError) as caught:
            await service.wait_for("pages", saved.global_position + 5, timeout=0.01)

    assert (caught.value.name, caught.value.reached, caught.value.lag) == ("pages", saved.global_position, 5)
    assert caught.value.cause is None
    assert "is its service running?" in str(caught.value)


async def test_a_projection_that_is_not_run_here_is_unknown(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        with pytest.raises(UnknownProjectionError, match="the projections are: pages"):
            await service.wait_for("page", 1)
        with pytest.raises(UnknownProjectionError):
            await service.resume("page")


def test_a_store_without_a_database_is_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match=r"perdure\.testing\.fold"):
        ProjectionService(InMemoryEventStore(), [Pages()])


@pytest.mark.parametrize("batch_size", [0, -1, 1001, "10"])
async def test_a_batch_size_that_makes_no_sense_is_refused(store: PostgreSQLEventStore, batch_size: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="batch_size"):
        ProjectionService(store, [Pages()], batch_size=batch_size)


class VersionedName(Pages, table="pages__v1", key="page"):
    pass


class NameOfChild(Pages, table="pages_visitors", key="page"):
    pass


@pytest.mark.parametrize("other", [Pages, VersionedName, NameOfChild])
async def test_two_tables_of_one_name_are_refused(store: PostgreSQLEventStore, other: type[Pages]) -> None:
    with pytest.raises(ProjectionDefinitionError, match="more than one table would have the name"):
        ProjectionService(store, [Pages(), other()])


async def test_a_projection_that_can_not_work_is_refused_before_any_table_is_created(
    store: PostgreSQLEventStore,
) -> None:
    class Wrong(Pages, table="wrong", key="nothing"):
        pass

    with pytest.raises(ProjectionDefinitionError, match="nothing"):
        ProjectionService(store, [Pages(), Wrong()])


# --- Starting and stopping --------------------------------------------------------------------------------------------


async def test_a_service_is_started_once(store: PostgreSQLEventStore) -> None:
    service = ProjectionService(store, [Pages()])
    await service.stop()
    async with service:
        with pytest.raises(WrongContextError, match="make another"):
            await service.start()


async def test_many_services_start_at_once(store: PostgreSQLEventStore) -> None:
    services = [ProjectionService(store, [Pages()]) for _ in range(6)]
    await asyncio.gather(*[service.start() for service in services])
    saved = await store.append_to_stream("x-1", ANY, visits(4))
    await asyncio.gather(*[service.wait_for("pages", saved, 30) for service in services])
    await asyncio.gather(*[service.stop() for service in services])

    assert await total_visits(store) == 4


async def test_run_goes_on_until_it_is_cancelled(store: PostgreSQLEventStore) -> None:
    service = ProjectionService(store, [Pages()])
    running = asyncio.create_task(service.run())
    saved = await store.append_to_stream("x-1", ANY, visits(1))
    await service.wait_for("pages", saved, timeout=30)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running


class Held:
    """Holds a method at a point of our choosing until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        original = getattr(owner, name)

        async def held(*arguments: Any) -> Any:
            self.reached.set()
            await self.released.wait()
            return await original(*arguments)

        monkeypatch.setattr(owner, name, held)


async def test_stopping_finishes_the_batch_under_way(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, TableStorage, "write")
    service = ProjectionService(store, [Pages()])
    await service.start()
    await store.append_to_stream("x-1", ANY, visits(3))
    await held.reached.wait()
    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0)
    held.released.set()
    await stopping

    assert await total_visits(store) == 3


async def test_stopping_leaves_no_batch_behind_when_its_caller_is_cancelled(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, TableStorage, "write")
    service = ProjectionService(store, [Pages()], stop_timeout=60)
    await service.start()
    [running] = [task for task in asyncio.all_tasks() if task.get_name() == "perdure projection pages"]
    await store.append_to_stream("x-1", ANY, visits(3))
    await held.reached.wait()
    stopping = asyncio.create_task(service.stop())
    for _ in range(20):  # until it waits for the batch
        await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait({stopping, running}, timeout=30)

    assert (stopping.cancelled(), running.cancelled()) == (True, True)
    assert await total_visits(store) == 0


async def test_a_batch_that_outlasts_the_time_for_stopping_is_rolled_back(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, TableStorage, "write")
    service = ProjectionService(store, [Pages()], stop_timeout=0.01)
    await service.start()
    await store.append_to_stream("x-1", ANY, visits(3))
    await held.reached.wait()
    await service.stop()

    assert await check_against_fold(store, database_url, Pages()) == 0


async def test_an_idle_service_stops_at_once_and_leaves_no_task(store: PostgreSQLEventStore) -> None:
    before = asyncio.all_tasks()
    service = ProjectionService(store, [Pages()], stop_timeout=60)
    async with asyncio.timeout(30):
        await service.start()
        await service.stop()

    assert {task for task in asyncio.all_tasks() - before if "projection" in task.get_name()} == set()


# --- Shapes and versions ----------------------------------------------------------------------------------------------


@dataclass
class OtherPage(Page):
    more: str = ""


class PagesWithMore(TableProjection[OtherPage], table="pages", key="page", version=1):
    @handles
    def visited(self, event: Visited, row: OtherPage | None) -> OtherPage:
        row = row or OtherPage(event.page)
        row.visits += 10
        return row


class PagesWithMoreTwo(PagesWithMore, table="pages", key="page", version=2):
    pass


async def test_a_changed_shape_without_a_new_version_is_refused(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Pages()]):
        pass

    with pytest.raises(ProjectionShapeError, match="give it a new version") as caught:
        await ProjectionService(store, [PagesWithMore()]).start()

    assert "pages__v1.more: not there, now text not null" in caught.value.differences
    assert "the key of pages_visitors__v1: page, visitor, now not there" in caught.value.differences


async def test_a_new_version_is_built_from_the_beginning_and_then_shown(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ProjectionService(store, [Pages()], batch_size=2) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(8, pages=1))
        await service.wait_for("pages", saved, timeout=30)

    held = Held(monkeypatch, TableProcessor, "process")
    async with ProjectionService(store, [PagesWithMoreTwo()], batch_size=2) as service:
        await held.reached.wait()
        # Not a half-built table: the view shows the older version until the new one has caught up.
        assert await connection.fetchval("select visits from pages") == 8
        held.released.set()
        await until_shown(store, BuildId("pages", 2))
        more = await store.append_to_stream("x-1", ANY, visits(1, pages=1))
        await service.wait_for("pages", more, timeout=30)

    assert await connection.fetchval("select visits from pages") == 90
    assert await connection.fetchval("select visits from pages__v1") == 8
    assert await connection.fetchval("select to_regclass('pages_visitors') is null"), "nothing keeps it any more"

    async def has_caught_up() -> bool:
        return (await builds(store))[BuildId("pages", 1)].global_position == more.global_position

    # An older program that comes back keeps its own table, and doesn't take the view back.
    async with ProjectionService(store, [Pages()]):
        await until(has_caught_up)
    assert await connection.fetchval("select visits from pages__v1") == 9
    assert await connection.fetchval("select visits from pages") == 90


async def test_what_others_build_on_a_view_stays_when_a_new_version_adds_columns(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Pages()]):
        await connection.execute("create view report as select page, visits from pages")
    async with ProjectionService(store, [PagesWithMoreTwo()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(1))
        await service.wait_for("pages", saved, timeout=30)
        await until_shown(store, BuildId("pages", 2))

    assert await connection.fetchval("select visits from report") == 10
