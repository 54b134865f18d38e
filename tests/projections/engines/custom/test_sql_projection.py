"""Projections that write by themselves: each event once where the checkpoint is, at least once elsewhere."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from perdure.commit import ANY
from perdure.errors import (
    DatabaseError,
    ProjectionPausedError,
    ProjectionShapeError,
)
from perdure.events import handles
from perdure.projection import Projection, ProjectionTransaction, SQLProjection
from perdure.projections.builds.setup import BuildSetup
from perdure.projections.engines.factory import create_engine, describe
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from perdure.projections.state.options import RunnerOptions
from perdure.projections.state.parked_events import ParkedEvents
from perdure.projections.state.scope import EVERYTHING
from perdure.projections.state.segments import Segments
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Broken, Moved, Visited
from tests.projections.hosting import no_host
from tests.projections.logging_visits import BatchSink, Sink, VisitCounts, counted, counts_in, lines_in
from tests.projections.rebuilding import until_ready, until_shown
from tests.projections.sabotage import Saboteur
from tests.projections.test_exactly_once import drawn_events, reset

ONCE = RetryConfig(max_attempts=1)


def visits(*pages: str) -> list[object]:
    return [Visited(page=page, visitor="x") for page in pages]


# --- However the log is cut -------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain})
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), cuts=st.sets(st.integers(1, 39)))
async def test_any_cut_into_batches_gives_the_same_rows(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, seed: int, count: int, cuts: set[int]
) -> None:
    await reset(connection)
    since = await connection.fetchval("select coalesce(max(global_position), 0) from perdure.events")
    await store.append_to_stream("x-1", ANY, drawn_events(count, seed))
    events = await store.read_all_events(since)
    definition, options = describe(VisitCounts()), RunnerOptions()
    segments = Segments(store.database, definition.build, "a test", 60)
    parking = ParkedEvents(store.database, definition.build, definition.key_codec, "a test", limit=10)
    tables, engine = create_engine(
        store.database, definition, segments, parking, options, host=no_host(definition.build)
    )
    await BuildSetup(store.database, definition, tables, "public").set_up(segments=1)
    await connection.execute("update perdure.projection_segments set global_position = $1", since)
    await segments.acquire(1)
    edges = [0, *sorted(cut for cut in cuts if cut < count), count]
    for start, end in pairwise(edges):
        taken = await engine.process(await segments.read(), events[start:end], EVERYTHING)
        assert (taken.done, taken.failure) == (end - start, None)

    assert await counts_in(connection) == counted(events)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("projection", [VisitCounts, Sink, BatchSink])
async def test_a_connection_cut_at_any_statement_loses_and_repeats_nothing(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, projection: type[Projection], after: bool
) -> None:
    saved = await store.append_to_stream("x-1", ANY, drawn_events(24, seed=5))
    events = await store.read_all_events()
    at = 0
    while True:
        at += 1
        await reset(connection)
        saboteur = Saboteur(at, after=after)
        running = projection()
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("perdure.projections.runtime.runner._BACK_OFF", RetryConfig(base_delay=0))
            saboteur.install(monkeypatch)
            async with ProjectionService(store, [running], batch_size=8) as service:
                await service.wait_for(running.name, saved, timeout=60)
        if isinstance(running, Sink):
            wanted = [stored.global_position for stored in events if describe(running).wants(stored)]  # type: ignore[attr-defined] # of this kind
            assert await lines_in(connection) == wanted, "once in the transaction"
            assert set(running.seen) == set(wanted), "at least once elsewhere"
        else:
            assert await counts_in(connection) == counted(events)
        if saboteur.count < at:
            break  # it was done before its turn came: every statement has been hit

    assert at > 10


# --- SQL --------------------------------------------------------------------------------------------------------------


async def test_queries_see_what_was_executed_and_statements_are_sent_together(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    executemany = asyncpg.Connection.executemany

    async def counting(self: asyncpg.Connection, sql: str, rows: Any, **options: Any) -> None:
        sent.append(len(rows))
        await executemany(self, sql, rows, **options)

    monkeypatch.setattr(asyncpg.Connection, "executemany", counting)
    saved = await store.append_to_stream("x-1", ANY, [*visits(*"aab"), Moved(source="a", target="b"), *visits(*"bb")])
    async with ProjectionService(store, [VisitCounts()]) as service:
        await service.wait_for("visit_counts", saved, timeout=30)

    assert await counts_in(connection) == counted(await store.read_all_events())
    assert sent == [3, 2]


class TagsByHand(SQLProjection, name="tags_by_hand"):
    tables = {"tags_by_hand": "create table {tags_by_hand} (tags text[])"}

    @handles
    async def visited(self, event: Visited, tx: ProjectionTransaction) -> None:
        tags = ["one"]
        tx.execute("insert into {tags_by_hand} values ($1)", tags)
        tags.append("two")
        tx.execute("insert into {tags_by_hand} values ($1)", tags)


async def test_a_list_that_changes_later_is_sent_as_it_was(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    saved = await store.append_to_stream("x-1", ANY, visits("a"))
    async with ProjectionService(store, [TagsByHand()]) as service:
        await service.wait_for("tags_by_hand", saved, timeout=30)

    assert [row["tags"] for row in await connection.fetch("select * from tags_by_hand")] == [["one"], ["one", "two"]]


@pytest.mark.usefixtures("quick_rebuilds")
async def test_tables_are_made_shown_and_switched_as_those_of_other_kinds(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    class VisitCountsTwo(VisitCounts, name="visit_counts", version=2):
        tables = {
            "visit_counts": VisitCounts.tables["visit_counts"],
            "visit_trail": "create table {visit_trail} (number serial, page text, visits bigint, more text)",
        }

    saved = await store.append_to_stream("x-1", ANY, drawn_events(30, seed=3))
    for version in (VisitCounts(), VisitCountsTwo()):
        async with ProjectionService(store, [version], batch_size=4) as service:
            await service.wait_for("visit_counts", saved, timeout=30)
            await until_shown(store, BuildId("visit_counts", version.version))
        assert await counts_in(connection) == counted(await store.read_all_events())

    statuses = {one.version: one.is_shown for one in await ProjectionOperations(store).status("visit_counts")}
    assert statuses == {1: False, 2: True}
    assert await connection.fetch("select more from visit_trail limit 0") == []
    assert await connection.fetchval("select count(*) from visit_counts__v1") == len(
        await connection.fetch("select from visit_counts__v2")
    )


@pytest.mark.usefixtures("quick_rebuilds")
async def test_a_rebuild_creates_new_tables_and_shows_them(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    saved = await store.append_to_stream("x-1", ANY, drawn_events(30, seed=4))
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [VisitCounts()], batch_size=4) as service:
        await service.wait_for("visit_counts", saved, timeout=30)
        await operations.rebuild("visit_counts")
        await until_shown(store, BuildId("visit_counts", 1, 2))
        assert await counts_in(connection) == counted(await store.read_all_events())

        await connection.execute("update visit_counts__v1_2 set visits = 1000")
        await operations.rebuild("visit_counts", switch="manual")
        ready = await until_ready(store, BuildId("visit_counts", 1, 3))
        assert [difference.table for difference in ready.differences] == ["visit_counts"]
        await operations.switch("visit_counts")
        later = await store.append_to_stream("x-1", ANY, drawn_events(5, seed=5))
        await service.wait_for("visit_counts", later, timeout=30)

    assert await counts_in(connection) == counted(await store.read_all_events())


async def test_changed_tables_without_a_new_version_are_refused(store: PostgreSQLEventStore) -> None:
    class Changed(VisitCounts, name="visit_counts", version=1):
        tables = {**VisitCounts.tables, "visit_trail": "create table {visit_trail} (page text)"}

    async with ProjectionService(store, [VisitCounts()]):
        pass

    with pytest.raises(ProjectionShapeError, match=r"visit_trail__v1\.its SQL: create table .*, now create table"):
        await ProjectionService(store, [Changed()]).start()


async def test_one_process_runs_it_and_others_stand_by(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    async with PostgreSQLEventStore(database_url) as elsewhere:
        one = ProjectionService(store, [VisitCounts()], batch_size=3, lease=0.5, segments=8)
        other = ProjectionService(elsewhere, [VisitCounts()], batch_size=5, lease=0.5, segments=8)
        async with other:
            async with one:
                for seed in range(10):
                    saved = await store.append_to_stream("x-1", ANY, drawn_events(7, seed))
                    await asyncio.gather(*[each.wait_for("visit_counts", saved, 30) for each in (one, other)])
                (status,) = await other.status()
                assert len(status.segments) == 1
            saved = await store.append_to_stream("x-1", ANY, drawn_events(7, 99))
            await other.wait_for("visit_counts", saved, 30)

    assert await counts_in(connection) == counted(await store.read_all_events())


# --- What fails -------------------------------------------------------------------------------------------------------


async def test_an_event_that_fails_is_found_and_what_comes_before_it_is_kept(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    projection = VisitCounts()
    projection.is_broken = True
    saved = await store.append_to_stream("x-1", ANY, [*visits(*"aab"), Broken(page="a"), *visits(*"bb")])
    async with ProjectionService(store, [projection], retry=RetryConfig(max_attempts=2, base_delay=0)) as service:
        with pytest.raises(ProjectionPausedError):
            await service.wait_for("visit_counts", saved, timeout=30)
        events = await store.read_all_events()
        assert await counts_in(connection) == counted(events[:3])
        (status,) = await service.status()
        assert status.failure is not None
        assert (status.global_position, status.failure.global_position, status.failure.attempts) == (3, 4, 2)
        assert (status.failure.kind, status.failure.error_type) == ("database", "DatabaseError")
        assert projection.calls.count(4) == 3, "once in the batch in which it was found, then once for each attempt"

        projection.is_broken = False
        await service.resume("visit_counts")
        await service.wait_for("visit_counts", saved, timeout=30)

    assert await counts_in(connection) == counted(events)


Fails = Callable[[Visited, ProjectionTransaction], Any]


async def late_check(event: Visited, tx: ProjectionTransaction) -> None:
    tx.execute("insert into {failing} values ($1)", event.page)


async def swallowed(event: Visited, tx: ProjectionTransaction) -> None:
    if event.page == "bad":
        with pytest.raises(DatabaseError):
            await tx.fetch("select nothing")


async def wrong_count(event: Visited, tx: ProjectionTransaction) -> None:
    if event.page == "bad":
        await tx.fetch("select 1", 5)


async def wrong_value(event: Visited, tx: ProjectionTransaction) -> None:
    tx.execute("insert into {failing} values ($1)", 5 if event.page == "bad" else "x")


async def no_such_table(event: Visited, tx: ProjectionTransaction) -> None:
    if event.page == "bad":
        tx.execute("delete from {faling}")


async def own_network(event: Visited, tx: ProjectionTransaction) -> None:
    if event.page == "bad":
        raise ConnectionResetError("the other side is away")


async def hangs(event: Visited, tx: ProjectionTransaction) -> None:
    if event.page == "bad":
        await asyncio.Event().wait()


async def hangs_in_sql(event: Visited, tx: ProjectionTransaction) -> None:
    if event.page == "bad":
        await tx.fetch("select pg_sleep(3600)")


async def awaits_what_was_cancelled(event: Visited, tx: ProjectionTransaction) -> None:
    if event.page == "bad":
        request = asyncio.get_running_loop().create_future()
        request.cancel()
        await request


@pytest.mark.parametrize(
    ("fails", "kind", "reason"),
    [
        (awaits_what_was_cancelled, "handler", "CancelledError"),
        (late_check, "database", "failing_fkey|violates"),
        (swallowed, "database", "nothing"),
        (wrong_count, "handler", "expects 0 arguments"),
        (wrong_value, "database", "expected str"),
        (no_such_table, "database", "syntax error"),
        (own_network, "handler", "away"),
        (hangs, "timeout", "longer than 0.2 s"),
        (hangs_in_sql, "timeout", "longer than 0.2 s"),
    ],
)
async def test_whatever_a_handler_does_wrong_pauses_at_its_event(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, fails: Fails, kind: str, reason: str
) -> None:
    class Failing(SQLProjection, name="failing"):
        tables = {
            "known": "create table {known} (page text primary key); insert into {known} values ('good'), ('x')",
            "failing": "create table {failing} (page text references {known} deferrable initially deferred)",
            "handled_pages": "create table {handled_pages} (page text)",
        }

        @handles
        async def visited(self, event: Visited, tx: ProjectionTransaction) -> None:
            tx.execute("insert into {handled_pages} values ($1)", event.page)
            await fails(event, tx)

    good = await store.append_to_stream("x-1", ANY, visits("good", "good"))
    limit = 30.0
    if kind == "timeout":  # on a busy machine, the limit is too short for what doesn't hang
        async with ProjectionService(store, [Failing()]) as service:
            await service.wait_for("failing", good, timeout=30)
        limit = 0.2
    saved = await store.append_to_stream("x-1", ANY, visits("bad", "good"))
    async with ProjectionService(store, [Failing()], retry=ONCE, handler_timeout=limit) as service:
        with pytest.raises(ProjectionPausedError, match=reason):
            await service.wait_for("failing", saved, timeout=30)
        (status,) = await service.status()

    assert status.failure is not None
    assert (status.failure.global_position, status.failure.kind, status.error) == (3, kind, None)
    assert await connection.fetchval("select string_agg(page, ' ') from handled_pages") == "good good"


async def test_a_skipped_event_is_ignored(store: PostgreSQLEventStore, connection: asyncpg.Connection) -> None:
    projection = VisitCounts()
    projection.is_broken = True
    saved = await store.append_to_stream("x-1", ANY, [*visits("a"), Broken(page="a"), *visits("a")])
    async with ProjectionService(store, [projection], retry=ONCE) as service:
        with pytest.raises(ProjectionPausedError):
            await service.wait_for("visit_counts", saved, timeout=30)
        assert await ProjectionOperations(store).skip("visit_counts", 2, "not needed") == 1
        await service.resume("visit_counts")
        await service.wait_for("visit_counts", saved, timeout=30)

    assert await counts_in(connection) == ({"a": (2, 2, 3)}, [])


class Slow(SQLProjection, name="slow"):
    """Takes longer than a lease for each event, and for the page "c" until it may go on."""

    tables = {"slow_pages": "create table {slow_pages} (page text)"}

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()

    @handles
    async def visited(self, event: Visited, tx: ProjectionTransaction) -> None:
        tx.execute("insert into {slow_pages} values ($1)", event.page)
        await asyncio.sleep(0.5)
        if event.page == "c":
            await self.may_go_on.wait()


async def test_a_handler_that_outlasts_the_lease_is_not_cut_off_while_its_process_lives(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    saved = await store.append_to_stream("x-1", ANY, visits("a", "b"))
    async with ProjectionService(store, [Slow()], lease=0.2) as service:
        await service.wait_for("slow", saved, timeout=30)
        assert (await service.status())[0].error is None

    assert [row["page"] for row in await connection.fetch("select page from slow_pages")] == ["a", "b"]


async def test_a_batch_that_takes_long_is_committed_in_parts(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """So that others see it go on, and a wait for an early event ends early."""
    await store.append_to_stream("x-1", ANY, visits("a", "b", "c"))
    slow = Slow()
    async with ProjectionService(store, [slow], lease=0.2) as service:
        await service.wait_for("slow", 1, timeout=30)
        assert await connection.fetchval("select count(*) from slow_pages") < 3
        slow.may_go_on.set()
        await service.wait_for("slow", 3, timeout=30)
