"""Crashes amid a rebuild: what is shown is the old build or the new one, complete, and it goes on by itself."""

import asyncio
import random
import signal
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import StoreUnavailableError
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from perdure.repository import RetryConfig
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold
from tests.projections.counting import Pages
from tests.projections.rebuilding import builds, until, until_shown, visits
from tests.projections.sabotage import Saboteur
from tests.projections.test_exactly_once import started
from tests.stores.postgres.embedded.projects import FAST, kill_server

pytestmark = pytest.mark.usefixtures("quick_rebuilds")

EVENTS = 2000


async def shown_visits(connection: asyncpg.Connection) -> int:
    total: int = await connection.fetchval("select coalesce(sum(visits), 0)::int from pages")
    return total


async def test_kill_9_of_a_rebuilding_process_never_shows_a_half_built_table(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    drawn = random.Random(811)
    operations = ProjectionOperations(store)
    await store.append_to_stream("x-1", ANY, visits(EVENTS))
    async with ProjectionService(store, [Pages()]) as service:
        await service.wait_for("pages", EVENTS, timeout=60)
    await operations.rebuild("pages", segments=3)
    reached = []
    for _ in range(4):
        process = await started(database_url, batch_size=3)
        await asyncio.sleep(drawn.uniform(0.1, 0.5))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert await shown_visits(connection) == EVENTS
        found = await builds(store)
        reached.append(found[BuildId("pages", 1, 2)].global_position)

    async with ProjectionService(store, [Pages()], lease=0.2):
        await until_shown(store, BuildId("pages", 1, 2))
    assert reached == sorted(reached)
    assert await shown_visits(connection) == EVENTS
    assert await check_against_fold(store, database_url, Pages(), build=2) == EVENTS


@pytest.mark.one_session
@pytest.mark.server
async def test_kill_9_of_the_server_amid_a_rebuild_is_waited_out(tmp_path: Path) -> None:
    async def revived() -> str:
        await server.ensure_running()
        return server.url

    second = BuildId("pages", 1, 2)
    async with (
        EmbeddedPostgreSQL(tmp_path / ".perdure", settings=FAST) as server,
        PostgreSQLEventStore(server.url, revive=revived) as store,
        ProjectionService(store, [Pages()], batch_size=20) as service,
    ):
        await store.append_to_stream("x-1", ANY, visits(EVENTS))
        await service.wait_for("pages", EVENTS, timeout=60)
        await ProjectionOperations(store).rebuild("pages", segments=3)

        async def has_begun() -> bool:
            return (await builds(store))[second].global_position > 0

        async def is_shown() -> bool:
            with suppress(StoreUnavailableError):  # who asks may come upon a connection that was cut
                return (await builds(store))[second].is_shown
            return False

        await until(has_begun)
        await asyncio.to_thread(kill_server, tmp_path / ".perdure")
        await until(is_shown)
        saved = await store.append_to_stream("x-1", ANY, visits(1))
        await service.wait_for("pages", saved, timeout=60)

        assert await check_against_fold(store, server.url, Pages(), build=2) == saved.global_position


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_any_statement_of_the_end_of_a_rebuild_leaves_it_whole(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr("perdure.projections.runtime.supervisor._BACK_OFF", RetryConfig(base_delay=0))
    await store.append_to_stream("x-1", ANY, visits(20))
    operations = ProjectionOperations(store)
    at = 0
    async with ProjectionService(store, [Pages()]) as service:
        await service.wait_for("pages", 20, timeout=30)
        while True:
            at += 1
            saboteur = Saboteur(at, after=after, by="completion")
            with pytest.MonkeyPatch.context() as cutting:
                saboteur.install(cutting)
                asked = await operations.rebuild("pages")
                await until_shown(store, BuildId("pages", 1, asked.build))
                assert await shown_visits(connection) == 20
            if saboteur.count < at:
                break  # it was shown before its turn came: every statement has been hit

    assert at > 10
