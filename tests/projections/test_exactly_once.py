"""Each event counts exactly once: however the log is cut, whatever crashes where, and with several runners."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import perdure
from perdure.commit import ANY
from perdure.errors import ProjectionPausedError
from perdure.events import StoredEvent, event, handles
from perdure.projection import TableProjection
from perdure.projections.builds.setup import BuildSetup
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.processor import TableProcessor
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.service import ProjectionService
from perdure.projections.state.parked_events import ParkedEvents
from perdure.projections.state.scope import EVERYTHING
from perdure.projections.state.segments import Segments
from perdure.repository import RetryConfig
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold_tables
from tests.projections.checking import check_against_fold, tables_in
from tests.projections.counting import Closed, Ignored, Moved, Pages, Visited
from tests.projections.sabotage import Saboteur
from tests.stores.postgres.races import durability, record_durability
from tests.stress.segments import advance_naively

ROOT = Path(__file__).parents[2]


def drawn_events(count: int, seed: int) -> list[object]:
    """A bit of everything, with pages that come, go and come again."""
    drawn = random.Random(seed)
    pages, visitors = ["a", "b", "c", "d"], ["x", "y", "z"]
    kinds: list[Callable[[], object]] = [
        lambda: Visited(page=drawn.choice(pages), visitor=drawn.choice(visitors), seconds=drawn.randrange(99)),
        lambda: Moved(source=drawn.choice(pages), target=drawn.choice(pages)),
        lambda: Closed(page=drawn.choice(pages)),
        lambda: Ignored(page=drawn.choice(pages)),
    ]
    return [make() for make in drawn.choices(kinds, [8, 1, 1, 1], k=count)]


async def reset(connection: asyncpg.Connection) -> None:
    await connection.execute("drop schema public cascade")
    await connection.execute("create schema public")
    await connection.execute("delete from perdure.projections")


# --- However the log is cut -------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain})
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), cuts=st.sets(st.integers(1, 39)))
async def test_any_cut_into_batches_gives_the_same_rows(
    store: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    database_url: str,
    seed: int,
    count: int,
    cuts: set[int],
) -> None:
    await reset(connection)
    since = await connection.fetchval("select coalesce(max(global_position), 0) from perdure.events")
    await store.append_to_stream("x-1", ANY, drawn_events(count, seed))
    events = await store.read_all_events(since)
    definition = TableDefinition(Pages())
    storage, segments = TableStorage(definition, "public"), Segments(store.database, definition.build, "a test", 60)
    parking = ParkedEvents(store.database, definition.build, definition.key_codec, "a test", limit=10)
    processor = TableProcessor(store.database, definition, segments, storage, parking, batch_size=10)
    await BuildSetup(store.database, definition, storage, "public").set_up(segments=1)
    await connection.execute("update perdure.projection_segments set global_position = $1", since)
    await segments.acquire(1)
    edges = [0, *sorted(cut for cut in cuts if cut < count), count]
    for start, end in pairwise(edges):
        result = await processor.process(await segments.read(), events[start:end], EVERYTHING)
        assert (result.done, result.failure) == (end - start, None)

    position, tables = await tables_in(database_url, Pages())
    assert tables == fold_tables(Pages(), events)
    assert position == events[-1].global_position


# --- Whatever crashes where -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_any_statement_loses_and_repeats_nothing(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str, after: bool
) -> None:
    saved = await store.append_to_stream("x-1", ANY, drawn_events(24, seed=5))
    at = 0
    while True:
        at += 1
        await reset(connection)
        saboteur = Saboteur(at, after=after)
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("perdure.projections.runtime.runner._BACK_OFF", RetryConfig(base_delay=0))
            saboteur.install(monkeypatch)
            async with ProjectionService(store, [Pages()], batch_size=8) as service:
                await service.wait_for("pages", saved, timeout=60)
        assert await check_against_fold(store, database_url, Pages()) == saved.global_position
        if saboteur.count < at:
            break  # it was done before its turn came: every statement has been hit

    assert at > 20, "there are three batches of six statements or more"


# --- Several runners --------------------------------------------------------------------------------------------------


async def test_regression_22_a_service_that_took_a_batch_writes_nothing_once_another_has_gone_further(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = TableStorage.load
    loaded, may_write = asyncio.Event(), asyncio.Event()

    async def load_and_stand_still(self: TableStorage, *arguments: Any) -> Any:
        rows = await load(self, *arguments)
        if not loaded.is_set():
            loaded.set()
            await may_write.wait()
        return rows

    monkeypatch.setattr(TableStorage, "load", load_and_stand_still)
    saved = await store.append_to_stream("x-1", ANY, drawn_events(30, seed=1))
    async with (
        ProjectionService(store, [Pages()], batch_size=5, lease=0.2) as slow,
        PostgreSQLEventStore(database_url) as elsewhere,
    ):
        await loaded.wait()
        async with ProjectionService(elsewhere, [Pages()], batch_size=5, lease=0.2) as fast:
            await fast.wait_for("pages", saved, timeout=30)
        may_write.set()
        await slow.wait_for("pages", saved, timeout=30)

    assert await check_against_fold(store, database_url, Pages()) == saved.global_position


async def test_without_the_fence_a_late_writer_would_spoil_the_rows(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test before this one can fail: it does if epochs and positions aren't checked."""
    monkeypatch.setattr(Segments, "advance", advance_naively)
    with pytest.raises(AssertionError):
        await test_regression_22_a_service_that_took_a_batch_writes_nothing_once_another_has_gone_further(
            store, database_url, monkeypatch
        )


async def test_two_services_share_the_work_in_any_order(store: PostgreSQLEventStore, database_url: str) -> None:
    async with (
        PostgreSQLEventStore(database_url) as elsewhere,
        ProjectionService(store, [Pages()], batch_size=3) as one,
        ProjectionService(elsewhere, [Pages()], batch_size=5) as other,
    ):
        for seed in range(20):
            saved = await store.append_to_stream("x-1", ANY, drawn_events(7, seed))
            await asyncio.gather(one.wait_for("pages", saved, 30), other.wait_for("pages", saved, 30))
            await check_against_fold(store, database_url, Pages())


async def test_a_service_that_freezes_in_its_transaction_writes_nothing_later(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is cut while it stands still, as a fail-over would; the other takes over; then it wakes."""
    write = TableStorage.write
    standing, wake = asyncio.Event(), asyncio.Event()

    async def stand_still(self: TableStorage, at: Any, changes: Any) -> None:
        if not standing.is_set():
            standing.set()
            await wake.wait()
        await write(self, at, changes)

    monkeypatch.setattr(TableStorage, "write", stand_still)
    saved = await store.append_to_stream("x-1", ANY, drawn_events(30, seed=2))
    async with (
        ProjectionService(store, [Pages()], lease=0.2) as frozen,
        PostgreSQLEventStore(database_url) as elsewhere,
    ):
        await standing.wait()
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where state = 'idle in transaction' and datname = current_database()"
        )
        async with ProjectionService(elsewhere, [Pages()], lease=0.2) as other:
            await other.wait_for("pages", saved, timeout=30)
            wake.set()
            await frozen.wait_for("pages", saved, timeout=30)

    assert await check_against_fold(store, database_url, Pages()) == saved.global_position


async def test_what_was_waited_for_survives_a_crash_of_the_server(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """Regression: checkpoints stood further back after a crash than the service that runs on believed."""
    await record_durability(connection, "perdure.projection_segments")
    async with ProjectionService(store, [Pages()]) as service:
        saved = await store.append_to_stream("x-1", ANY, drawn_events(10, seed=1))
        await service.wait_for("pages", saved, timeout=30)

    assert await durability(connection) == {"on"}


# --- Whatever a handler does to the event that it is given ------------------------------------------------------------


@event("test.projections.tagged")
class Tagged:
    pages: list[str]
    tags: list[str]


@dataclass
class Tags:
    page: str
    tags: list[str] | None = None
    seen: list[str] | None = None


@event("test.projections.page_made")
class PageMade:
    page: str


class TagsTaken(TableProjection[Tags], table="tags_taken", key="page"):
    """Puts the event's own lists into rows, and changes them there."""

    def keys(self, event: Any, at: StoredEvent) -> list[str]:
        if isinstance(event, PageMade):
            return [event.page]
        at.event.tags.append("looked at")
        return list(event.pages)

    @handles
    def made(self, event: PageMade, row: Tags | None) -> Tags:
        return Tags(event.page)

    @handles
    def tagged(self, event: Tagged, row: Tags | None, at: StoredEvent) -> Tags | None:
        if row is not None:
            row.tags, row.seen = event.tags, at.event.tags
            row.tags.append("counted")
            row.seen.append("seen")
        return row


def tagged() -> list[object]:
    return [*[PageMade(page=page) for page in "abcd"], *[Tagged(pages=[*pages], tags=["x"]) for pages in ("ab", "cd")]]


async def test_a_handler_that_changes_its_event_gives_the_same_rows_each_time_it_is_folded() -> None:
    memory = InMemoryEventStore()
    await memory.append_to_stream("x-1", 0, tagged())
    events = await memory.read_all_events()

    for _ in range(2):
        rows = fold_tables(TagsTaken(), events)["tags_taken"]
        assert rows == {page: Tags(page, ["x", "counted"], ["x", "seen"]) for page in "abcd"}


@pytest.mark.parametrize("batch_size", [1, 5, 500])
async def test_a_handler_that_changes_its_event_gives_the_same_rows_when_a_batch_is_refused_and_folded_again(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str, batch_size: int
) -> None:
    retry = RetryConfig(max_attempts=2, base_delay=0)
    async with ProjectionService(store, [TagsTaken()], batch_size=batch_size, retry=retry) as service:
        await connection.execute("alter table tags_taken__v1 add constraint no_d check (page <> 'd' or tags is null)")
        saved = await store.append_to_stream("x-1", 0, tagged())
        with pytest.raises(ProjectionPausedError):
            await service.wait_for("tags_taken", saved, timeout=30)
        await connection.execute("alter table tags_taken__v1 drop constraint no_d")
        await service.resume("tags_taken")
        await service.wait_for("tags_taken", saved, timeout=30)

    _, tables = await tables_in(database_url, TagsTaken())
    assert tables["tags_taken"] == {page: Tags(page, ["x", "counted"], ["x", "seen"]) for page in "abcd"}


# --- Killed without warning -------------------------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Pages

async def main():
    async with PostgreSQLEventStore(sys.argv[1]) as store:
        service = ProjectionService(store, [Pages()], batch_size=int(sys.argv[2]), lease=0.2)
        await service.start()
        print("started", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def started(url: str, batch_size: int, program: str = PROGRAM) -> asyncio.subprocess.Process:
    sources = f"{Path(perdure.__file__).parents[1]}{os.pathsep}{ROOT}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        url,
        str(batch_size),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": sources},
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    return process


async def test_kill_9_at_random_moments_leaves_it_equal_to_a_fresh_fold(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    drawn = random.Random(736)
    reached = []

    async def append() -> None:
        for n in range(400):
            await store.append_to_stream(f"x-{n % 5}", ANY, drawn_events(10, seed=n))

    appending = asyncio.create_task(append())
    for batch_size in (3, 50, 500, 7, 1, 20):
        process = await started(database_url, batch_size)
        await asyncio.sleep(drawn.uniform(0.2, 0.6))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        reached.append(await check_against_fold(store, database_url, Pages()))
    await appending
    async with ProjectionService(store, [Pages()]) as service:
        await service.wait_for("pages", 4000, timeout=60)

    assert await check_against_fold(store, database_url, Pages()) == 4000
    assert reached == sorted(reached)
    assert reached[-1] > 0
