"""A `Projection` that writes to other systems gets each event at least once there."""

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import (
    ProjectionPausedError,
)
from perdure.events import StoredEvent, registry
from perdure.events import event as event_type
from perdure.projection import Projection, ProjectionTransaction
from perdure.projections.builds.setup import BuildSetup
from perdure.projections.engines.factory import create_engine, describe
from perdure.projections.service import ProjectionService
from perdure.projections.state.options import RunnerOptions
from perdure.projections.state.parked_events import ParkedEvents
from perdure.projections.state.scope import EVERYTHING
from perdure.projections.state.segments import FencedError, Segments
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Closed, Ignored, Moved, Visited
from tests.projections.hosting import no_host
from tests.projections.logging_visits import BatchSink, Sink, lines_in

ONCE = RetryConfig(max_attempts=1)


def visits(*pages: str) -> list[object]:
    return [Visited(page=page, visitor="x") for page in pages]


@pytest.mark.parametrize("projection", [Sink, BatchSink])
async def test_a_sink_that_fails_gets_its_event_again_and_keeps_what_came_before(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, projection: type[Sink]
) -> None:
    sink = projection()
    sink.failing = {3}
    saved = await store.append_to_stream("x-1", ANY, visits(*"abcd"))
    async with ProjectionService(store, [sink], retry=ONCE) as service:
        with pytest.raises(ProjectionPausedError, match="the sink is away"):
            await service.wait_for(sink.name, saved, timeout=30)
        assert await lines_in(connection) == [1, 2]
        sink.failing = set()
        await service.resume(sink.name)
        await service.wait_for(sink.name, saved, timeout=30)

    assert await lines_in(connection) == [1, 2, 3, 4]
    assert set(sink.seen) == {1, 2, 3, 4}


async def test_an_event_of_a_type_without_a_class_is_reported_as_unknown_type(store: PostgreSQLEventStore) -> None:
    """A sink gets every event; this one decodes them all."""

    class Decoding(Projection, name="decoding"):
        async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
            event.decode()

    @event_type("test.projections.forgotten")
    class Forgotten:
        page: str

    saved = await store.append_to_stream("x-1", ANY, [*visits("a"), Forgotten(page="a")])
    with pytest.MonkeyPatch.context() as forgetting:
        by_name = {name: known for name, known in registry._by_name.items() if name != "test.projections.forgotten"}
        forgetting.setattr(registry, "_by_name", by_name)
        async with ProjectionService(store, [Decoding()], retry=ONCE) as service:
            with pytest.raises(ProjectionPausedError, match="forgotten"):
                await service.wait_for("decoding", saved, timeout=30)
            (status,) = await service.status()

    assert status.failure is not None
    assert (status.failure.global_position, status.failure.kind) == (2, "unknown_type")


async def test_a_sink_takes_the_types_it_names_and_batches_as_they_come(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    sink = BatchSink()
    saved = await store.append_to_stream(
        "x-1", ANY, [*visits("a"), Ignored(page="a"), Moved(source="a", target="b"), Closed(page="a")]
    )
    async with ProjectionService(store, [sink]) as service:
        await service.wait_for("batch_sink", saved, timeout=30)

    assert sink.batches == [[1, 3]]


async def test_a_runner_that_lost_its_lease_does_not_write_to_the_sink(store: PostgreSQLEventStore) -> None:
    """What it would write there, nothing could undo."""
    await store.append_to_stream("x-1", ANY, visits("a"))
    sink = Sink()
    definition = describe(sink)
    segments = Segments(store.database, definition.build, "a test", 60)
    parking = ParkedEvents(store.database, definition.build, definition.key_codec, "a test", limit=10)
    tables, engine = create_engine(
        store.database, definition, segments, parking, RunnerOptions(), host=no_host(definition.build)
    )
    await BuildSetup(store.database, definition, tables, "public").set_up(segments=1)
    await segments.acquire(1)
    (mine,) = await segments.read()
    with pytest.raises(FencedError):
        await engine.process([mine._replace(epoch=mine.epoch - 1)], await store.read_all_events(), EVERYTHING)

    assert sink.seen == []


async def test_a_sink_without_tables_has_a_checkpoint(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    seen: list[int] = []

    class Bare(Projection, name="bare"):
        async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
            seen.append(event.global_position)

    for _ in range(2):
        saved = await store.append_to_stream("x-1", ANY, visits("a"))
        async with ProjectionService(store, [Bare()], schema="elsewhere") as service:
            await service.wait_for("bare", saved, timeout=30)

    assert seen == [1, 2]
    assert await connection.fetchval("select to_regnamespace('elsewhere') is null"), "nothing to put in it"
