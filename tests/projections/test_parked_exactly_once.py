"""Parked events count exactly once, too: whatever is cut, killed, taken over or asked for meanwhile."""

import asyncio
import random
import signal
from string import ascii_letters
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold, tables_in
from tests.projections.counting import Broken, Moved
from tests.projections.parking_lot import (
    AT_ONCE,
    FAILED,
    SKIPPED,
    WAITING,
    Guarded,
    page,
    parked,
    runner_of,
    until,
    until_parked,
    until_processed,
    visit,
)
from tests.projections.sabotage import Saboteur
from tests.projections.test_exactly_once import reset, started

pytestmark = pytest.mark.usefixtures("quick_beats")


# --- Whatever is cut where --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_any_statement_while_parking_loses_and_repeats_nothing(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str, after: bool
) -> None:
    events = [
        visit("a"),
        visit("b"),
        Broken(page="a"),
        Moved(source="a", target="b"),
        visit("a"),
        visit("c"),
        visit("a"),
    ]
    saved = await store.append_to_stream("x-1", ANY, events)
    at = 0
    while True:
        at += 1
        await reset(connection)
        saboteur = Saboteur(at, after=after)
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("perdure.projections.runtime.runner._BACK_OFF", RetryConfig(base_delay=0))
            saboteur.install(monkeypatch)
            async with ProjectionService(store, [Guarded("a")], batch_size=3, retry=AT_ONCE) as service:
                await until_processed(service, "guarded", saved, timeout=60)
        expected = [(3, page("a"), FAILED), *[(n, page("a"), WAITING) for n in (4, 5, 7)]]
        assert await parked(store) == expected
        assert await check_against_fold(store, database_url, Guarded()) == saved.global_position
        if saboteur.count < at or at > 60:
            break

    assert at > 25, "there are three batches of six statements or more"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_any_statement_while_retrying_loses_and_repeats_nothing(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str, after: bool
) -> None:
    events = [visit("a"), Broken(page="a"), Moved(source="a", target="b"), visit("a"), visit("c"), visit("a")]
    saved = await store.append_to_stream("x-1", ANY, events)
    at = 0
    while True:
        at += 1
        await reset(connection)
        async with ProjectionService(store, [Guarded("a")], retry=AT_ONCE) as service:
            await until_processed(service, "guarded", saved, timeout=60)
        await ProjectionOperations(store).retry("guarded")
        saboteur = Saboteur(at, after=after)
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("perdure.projections.runtime.runner._BACK_OFF", RetryConfig(base_delay=0))
            saboteur.install(monkeypatch)
            async with ProjectionService(store, [Guarded()], batch_size=2) as service:
                await until_parked(service, store)
        assert await check_against_fold(store, database_url, Guarded()) == saved.global_position
        if saboteur.count < at or at > 60:
            break

    assert at > 20, "there are two batches of six statements or more"


# --- Another runner takes over ----------------------------------------------------------------------------------------


async def test_a_runner_that_freezes_while_retrying_writes_nothing_once_another_took_over(
    store: PostgreSQLEventStore,
    elsewhere: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = TableStorage.load
    standing, wake = asyncio.Event(), asyncio.Event()
    async with ProjectionService(store, [Guarded("a")], retry=AT_ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a"), visit("a")])
        await until_processed(service, "guarded", saved, timeout=30)
    await ProjectionOperations(store).retry("guarded")

    async def load_and_stand_still(self: TableStorage, *arguments: Any) -> Any:
        rows = await load(self, *arguments)
        if not standing.is_set():
            standing.set()
            await wake.wait()
        return rows

    monkeypatch.setattr(TableStorage, "load", load_and_stand_still)
    async with ProjectionService(store, [Guarded()], lease=0.2) as frozen:
        await standing.wait()
        async with ProjectionService(elsewhere, [Guarded()], lease=0.2) as other:
            await until_parked(other, store)
            assert await check_against_fold(store, database_url, Guarded()) == saved.global_position
            wake.set()
            later = await store.append_to_stream("x-1", ANY, [visit("a")])
            await until_processed(other, "guarded", later, timeout=30)
            await until_processed(frozen, "guarded", later, timeout=30)
    assert await check_against_fold(store, database_url, Guarded()) == later.global_position
    actions = await ProjectionOperations(store).actions("guarded")
    assert [one.action for one in actions if one.action == "retried"] == ["retried"]


async def test_an_event_that_is_skipped_while_it_is_retried_counts_as_one_of_both(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = TableStorage.load
    loaded, skipped = asyncio.Event(), asyncio.Event()
    projection = Guarded("a")
    async with ProjectionService(store, [projection], retry=AT_ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a"), visit("a")])
        await until_processed(service, "guarded", saved, timeout=30)

        async def load_and_wait(self: TableStorage, *arguments: Any) -> Any:
            rows = await load(self, *arguments)
            loaded.set()
            await skipped.wait()
            return rows

        monkeypatch.setattr(TableStorage, "load", load_and_wait)
        projection.bad.clear()
        await ProjectionOperations(elsewhere).retry("guarded")
        await loaded.wait()
        assert await ProjectionOperations(elsewhere).skip("guarded", 2, "no") == 1
        skipped.set()
        await until_parked(service, store, (2, page("a"), SKIPPED))
        await check_against_fold(store, database_url, Guarded())


async def test_nothing_is_written_of_a_retry_under_way_once_it_was_paused(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = TableStorage.load
    loaded, is_paused = asyncio.Event(), asyncio.Event()
    projection = Guarded("a")
    operations = ProjectionOperations(elsewhere)
    async with ProjectionService(store, [projection], retry=AT_ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), visit("a")])
        await until_processed(service, "guarded", saved, timeout=30)

        async def load_and_wait(self: TableStorage, *arguments: Any) -> Any:
            rows = await load(self, *arguments)
            loaded.set()
            await is_paused.wait()
            return rows

        monkeypatch.setattr(TableStorage, "load", load_and_wait)
        projection.bad.clear()
        await operations.retry("guarded")
        await loaded.wait()
        await operations.pause("guarded")
        is_paused.set()
        changes = runner_of(service).changes
        for _ in range(5):
            await changes.wait(changes.count, 30)
        assert await parked(store) == [(1, page("a"), FAILED), (2, page("a"), WAITING)]
        await operations.resume("guarded")
        await until_parked(service, store)


async def test_an_event_that_comes_while_some_still_wait_waits_too(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes between two batches of those that wait, and nothing else tells of them."""
    load = TableStorage.load
    loaded, appended = asyncio.Event(), asyncio.Event()
    projection = Guarded("a")
    async with ProjectionService(store, [projection], retry=AT_ONCE, batch_size=2) as service:
        moves = [Moved(source="a", target=name) for name in "bcd"]
        saved = await store.append_to_stream("x-1", ANY, [Broken(page="a"), *moves])
        await until_processed(service, "guarded", saved, timeout=30)

        async def load_and_wait(self: TableStorage, *arguments: Any) -> Any:
            rows = await load(self, *arguments)
            runner_of(service)._leases._due = asyncio.get_running_loop().time() + 3600
            loaded.set()
            await appended.wait()
            return rows

        monkeypatch.setattr(TableStorage, "load", load_and_wait)
        projection.bad.clear()
        await ProjectionOperations(store).retry("guarded")
        await loaded.wait()
        later = await store.append_to_stream("x-1", ANY, [Moved(source="a", target="z"), visit("b")])
        appended.set()
        await until_processed(service, "guarded", later, timeout=30)
        await check_against_fold(store, database_url, Guarded())
        await until_parked(service, store)
    _, tables = await tables_in(database_url, Guarded())
    assert tables["guarded"]["a"].path == ["broken", "a>b", "a>c", "a>d", "a>z"]


async def test_what_a_runner_parked_before_it_died_waits_with_the_next(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, database_url: str
) -> None:
    """It dies without giving its segments back: another has them when the lease is over, and keeps the key's events."""
    dying = ProjectionService(store, [Guarded("a")], retry=AT_ONCE, lease=0.2)
    await dying.start()
    saved = await store.append_to_stream("x-1", ANY, [visit("a"), Broken(page="a")])
    await until_processed(dying, "guarded", saved, timeout=30)
    task = runner_of(dying)._task
    assert task is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    saved = await store.append_to_stream("x-1", ANY, [visit("a"), visit("b")])
    async with ProjectionService(elsewhere, [Guarded()], lease=0.2) as other:
        await until_processed(other, "guarded", saved, timeout=30)
        assert await parked(store) == [(2, page("a"), FAILED), (3, page("a"), WAITING)]
        await check_against_fold(store, database_url, Guarded())
        await ProjectionOperations(store).retry("guarded")
        await until_parked(other, store)
    await check_against_fold(store, database_url, Guarded())
    await dying.stop()


# --- Killed without warning -------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
from perdure.projections.runtime import leases
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.parking_lot import AT_ONCE, Guarded

leases._HEARTBEAT_INTERVAL = 0.01

class Flaky(Guarded, table="guarded", key="page", on_failure="park"):
    def _check(self, page):
        self.tries += 1
        if self.tries % 3:
            raise RuntimeError("flaky")

async def main():
    async with PostgreSQLEventStore(sys.argv[1]) as store:
        service = ProjectionService(
            store, [Flaky()], batch_size=int(sys.argv[2]), lease=0.2, retry=AT_ONCE, segments=4, max_parked=100000
        )
        await service.start()
        print("started", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_kill_9_while_parking_and_retrying_leaves_it_equal_to_a_fresh_fold(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    drawn = random.Random(737)
    operations = ProjectionOperations(store)

    def some_events() -> list[object]:
        pages = list(ascii_letters[:6])
        return [
            drawn.choice(
                [
                    visit(drawn.choice(pages)),
                    Broken(page=drawn.choice(pages)),
                    Moved(source=drawn.choice(pages), target=drawn.choice(pages)),
                ]
            )
            for _ in range(20)
        ]

    async def act() -> None:
        for _ in range(60):
            saved = await store.append_to_stream("x-1", ANY, some_events())
            if (await operations.status())[0:1]:
                await operations.retry("guarded")
                await operations.skip("guarded", drawn.randint(1, saved.global_position), "no")
            await asyncio.sleep(0)

    async with ProjectionService(store, [Guarded()], segments=4):
        pass
    acting = asyncio.create_task(act())
    for batch_size in (3, 50, 500, 7, 1, 20):
        process = await started(database_url, batch_size, PROGRAM)
        await asyncio.sleep(drawn.uniform(0.2, 0.6))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await check_against_fold(store, database_url, Guarded())
    await acting
    async with ProjectionService(store, [Guarded()], lease=0.2) as service:
        await until_processed(service, "guarded", 1200, timeout=60)
        await operations.retry("guarded")

        async def only_skipped() -> bool:
            return await parked(store, FAILED, WAITING) == []

        await until(service, only_skipped)
    assert await check_against_fold(store, database_url, Guarded()) == 1200
