"""A batch of one table and one segment is one statement, which keeps what the transaction of other batches promises."""

import asyncio
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.events import StoredEvent
from perdure.projections.builds.setup import BuildSetup
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.processor import TableProcessor
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.service import ProjectionService
from perdure.projections.state.parked_events import ParkedEvents
from perdure.projections.state.scope import EVERYTHING
from perdure.projections.state.segments import FencedError, Segments
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.pooler import direct
from tests.projections.checking import check_against_fold
from tests.projections.counting import Totals
from tests.projections.rebuilding import until, visits
from tests.projections.sabotage import Saboteur

WAITING = "select exists (select from pg_locks where not granted and locktype = 'transactionid')"
STATE = "select (select sum(events)::int from totals), (select min(global_position) from perdure.projection_segments)"


def refuse(*_: Any) -> Any:
    raise AssertionError("the batch takes a transaction")


async def prepared(store: PostgreSQLEventStore, segments: int = 1) -> tuple[TableProcessor, Segments]:
    definition = TableDefinition(Totals())
    storage, leased = TableStorage(definition, "public"), Segments(store.database, definition.build, "a test", 60)
    parked = ParkedEvents(store.database, definition.build, definition.key_codec, "a test", limit=10)
    await BuildSetup(store.database, definition, storage, "public").set_up(segments=segments)
    await leased.acquire(segments)
    return TableProcessor(store.database, definition, leased, storage, parked, batch_size=10), leased


async def events_in(store: PostgreSQLEventStore) -> list[StoredEvent]:
    await store.append_to_stream("x-1", ANY, visits(10))
    return list(await store.read_all_events())


async def test_one_table_and_one_segment_take_one_statement(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TableStorage, "write", refuse)
    monkeypatch.setattr(Segments, "advance", refuse)
    async with ProjectionService(store, [Totals()]) as service:
        saved = await store.append_to_stream("x-1", ANY, visits(10))
        await service.wait_for("totals", saved, timeout=60)
        saved = await store.append_to_stream("x-1", ANY, visits(10))
        await service.wait_for("totals", saved, timeout=60)

    assert await check_against_fold(store, database_url, Totals()) == saved.global_position


async def test_several_segments_move_together_or_not_at_all(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """By one statement, some of them could move without their rows."""
    processor, segments = await prepared(store, segments=4)
    events, group = await events_in(store), await segments.read()
    await connection.execute("update perdure.projection_segments set epoch = epoch + 1 where first_hash > 0")
    with pytest.raises(FencedError):
        await processor.process(group, events, EVERYTHING)

    [(rows, position)] = await connection.fetch(STATE)
    assert (rows, position) == (None, 0)


@pytest.mark.parametrize(
    "change", ["owner = 'another'", "epoch = epoch + 1", "global_position = 5", "status = 'paused'"]
)
async def test_a_runner_that_loses_the_segment_while_it_waits_for_it_writes_nothing(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str, change: str
) -> None:
    processor, segments = await prepared(store)
    events, group = await events_in(store), await segments.read()
    other: asyncpg.Connection = await asyncpg.connect(direct(database_url))
    try:
        async with other.transaction():
            await other.execute(f"update perdure.projection_segments set {change}")
            batch = asyncio.create_task(processor.process(group, events, EVERYTHING))
            await until(lambda: connection.fetchval(WAITING))
        with pytest.raises(FencedError):
            await batch
    finally:
        await other.close()

    assert await connection.fetchval("select count(*) from totals") == 0


async def test_rows_that_the_database_refuses_leave_the_checkpoint_where_it_was(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    processor, segments = await prepared(store)
    await connection.execute("alter table totals__v1 add constraint few check (events < 2)")
    events, group = await events_in(store), await segments.read()
    result = await processor.process(group, events, EVERYTHING)

    assert result.failure is None
    assert result.done < len(events)
    [(rows, position)] = await connection.fetch(STATE)
    assert (rows, position) == (result.done, events[result.done - 1].global_position)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_cut_at_any_statement_loses_and_repeats_nothing(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str, after: bool
) -> None:
    saved = await store.append_to_stream("x-1", ANY, visits(24))
    at = 0
    while True:
        at += 1
        await connection.execute("drop schema public cascade")
        await connection.execute("create schema public")
        await connection.execute("delete from perdure.projections")
        saboteur = Saboteur(at, after=after)
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("perdure.projections.runtime.runner._BACK_OFF", RetryConfig(base_delay=0))
            saboteur.install(monkeypatch)
            async with ProjectionService(store, [Totals()], batch_size=8) as service:
                await service.wait_for("totals", saved, timeout=60)
        assert await check_against_fold(store, database_url, Totals()) == saved.global_position
        if saboteur.count < at:
            break  # it was done before its turn came: every statement has been hit

    assert at > 6, "there are three batches, which load rows and write them"
