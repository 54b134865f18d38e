"""The service recovers: from another log, lost connections, a restarted server, and renamed classes."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import (
    LogDivergedError,
)
from perdure.events import event, handles, registry
from perdure.projection import TableProjection
from perdure.projections.runtime.feed import Feed
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold
from tests.projections.counting import Page, Pages
from tests.projections.parking_lot import runner_of
from tests.projections.rebuilding import visits
from tests.stores.postgres.embedded.projects import FAST, kill_server
from tests.stores.postgres.races import until

# --- The log ----------------------------------------------------------------------------------------------------------


async def test_a_service_refuses_to_start_on_another_log(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(2))
        await service.wait_for("pages", saved, timeout=30)
    await connection.execute("update perdure.projection_segments set event_id = $1", uuid4())

    with pytest.raises(LogDivergedError, match=r"projection 'pages'.*give it a new version"):
        await ProjectionService(store, [Pages()]).start()


async def test_a_service_refuses_to_start_on_a_log_that_ends_before_its_checkpoint(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(2))
        await service.wait_for("pages", saved, timeout=30)
    await connection.execute("update perdure.projection_segments set global_position = 1000")

    with pytest.raises(LogDivergedError, match="no event has that position"):
        await ProjectionService(store, [Pages()]).start()


async def test_a_process_that_remembers_another_log_reads_again_before_it_tells_callers_that_the_log_has_changed(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Regression: after a failover, rows go back with the log. A wait for the next event ended with an error
    # nevertheless, if it began before the runner had compared the log with the rows of the new server.
    after, reads, may_read = Feed.after, 0, asyncio.Event()

    async def after_a_failover(self: Feed, *arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads == 1:
            raise LogDivergedError("the subscription", 2, uuid4(), None)
        await may_read.wait()
        return await after(self, *arguments)

    monkeypatch.setattr(Feed, "after", after_a_failover)
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(1))
        await until(lambda: reads == 2)
        assert isinstance(runner_of(service).error, LogDivergedError)
        waiting = asyncio.create_task(service.wait_for("pages", saved, timeout=30))
        await until(lambda: waiting.done() or bool(runner_of(service).changes._waiters))
        may_read.set()
        await waiting


async def test_callers_learn_that_the_log_has_changed_while_the_service_runs(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(2))
        await service.wait_for("pages", saved, timeout=30)
        await connection.execute("update perdure.projection_segments set event_id = $1", uuid4())
        await connection.execute("update perdure.projection_segments set global_position = 1")
        behind = await store.append_to_stream("x-1", ANY, visits(1))
        with pytest.raises(LogDivergedError):
            await service.wait_for("pages", behind, timeout=30)
        (status,) = await service.status()

    assert status.error is not None
    assert "this isn't the log that was read" in status.error


# --- Faults of other libraries (regressions 19, 20, 23, 24, 27) -------------------------------------------------------


@pytest.mark.one_session
async def test_regression_19_a_killed_listener_does_not_put_it_to_sleep(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    listeners = (
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where query ilike 'listen %' and datname = current_database()"
    )
    async with ProjectionService(store, [Pages()]) as service, PostgreSQLEventStore(database_url) as elsewhere:
        for _ in range(3):
            while not await connection.fetch(listeners):  # noqa: ASYNC110 - the database has no event to wait for
                await asyncio.sleep(0.01)
            saved = await elsewhere.append_to_stream("x-1", ANY, visits(1))
            await service.wait_for("pages", saved, timeout=30)


async def test_regression_19_every_connection_killed_is_waited_out(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    others = (
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where pid <> pg_backend_pid() and datname = current_database()"
    )
    async with (
        ProjectionService(store, [Pages()], batch_size=3) as service,
        PostgreSQLEventStore(database_url) as elsewhere,
    ):
        for _ in range(5):
            await elsewhere.append_to_stream("x-1", ANY, visits(10))
            await connection.execute(others)
        await service.wait_for("pages", 50, timeout=30)

    await check_against_fold(store, database_url, Pages())


@pytest.mark.server
async def test_regression_20_a_restarted_database_is_waited_out(tmp_path: Path) -> None:
    async def revived() -> str:
        await server.ensure_running()
        return server.url

    async with (
        EmbeddedPostgreSQL(tmp_path / ".perdure", settings=FAST) as server,
        PostgreSQLEventStore(server.url, revive=revived) as store,
        ProjectionService(store, [Pages()]) as service,
    ):
        for _ in range(2):
            saved = await store.append_to_stream("x-1", ANY, visits(4))
            await service.wait_for("pages", saved, timeout=60)
            await asyncio.to_thread(kill_server, tmp_path / ".perdure")
        saved = await store.append_to_stream("x-1", ANY, visits(4))
        await service.wait_for("pages", saved, timeout=60)

        assert await check_against_fold(store, server.url, Pages()) == saved.global_position


@pytest.mark.parametrize("batch_size", [1, 3, 4, 1000])
async def test_regression_23_no_event_is_skipped_or_repeated_at_a_restart_or_when_going_live(
    store: PostgreSQLEventStore, database_url: str, batch_size: int
) -> None:
    for count in (3, 4, 1, 12):
        saved = await store.append_to_stream("x-1", ANY, visits(count))
        async with ProjectionService(store, [Pages()], batch_size=batch_size) as service:
            await service.wait_for("pages", saved, timeout=30)
            live = await store.append_to_stream("x-1", ANY, visits(count))
            await service.wait_for("pages", live, timeout=30)

        assert await check_against_fold(store, database_url, Pages()) == live.global_position


@pytest.mark.parametrize("segments", [1, 8])
async def test_regression_24_checkpoints_keep_moving_under_load(
    store: PostgreSQLEventStore, database_url: str, segments: int
) -> None:
    """All of them, also those of segments without events: a caller waits for all."""
    seen: set[int] = set()
    async with ProjectionService(store, [Pages()], batch_size=10, segments=segments) as service:

        async def append(writer: int) -> None:
            for _ in range(20):
                saved = await store.append_to_stream(f"x-{writer}", ANY, visits(3))
                await service.wait_for("pages", saved, timeout=60)
                seen.add((await service.status())[0].global_position)

        await asyncio.gather(*[append(writer) for writer in range(4)])

    assert len(seen) > 10
    assert await check_against_fold(store, database_url, Pages()) == 240


async def test_regression_27_a_renamed_class_still_gets_its_old_events(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append_to_stream("x-1", ANY, visits(2))
    monkeypatch.setattr(registry, "_by_name", dict(registry._by_name))
    del registry._by_name["test.projections.visited"]

    @event("test.projections.visited")
    class CameBy:
        page: str
        visitor: str

    class PagesAfterwards(TableProjection[Page], table="afterwards", key="page"):
        @handles
        def came_by(self, event: CameBy, row: Page | None) -> Page:
            row = row or Page(event.page)
            row.visits += 1
            return row

    async with ProjectionService(store, [PagesAfterwards()]) as service:
        await service.wait_for("afterwards", 2, timeout=30)

    assert await store.database.fetch_value("select sum(visits)::int from afterwards") == 2
