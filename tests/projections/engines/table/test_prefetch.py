"""The batch that is made ready while the one before it is written: used if all is as it was foreseen, else dropped."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import StoreUnavailableError
from perdure.events import StoredEvent, handles
from perdure.projection import TableProjection
from perdure.projections.builds.setup import BuildSetup
from perdure.projections.engine import BatchResult
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.fold import BatchPlan
from perdure.projections.engines.table.prefetch import Preparing, Ready
from perdure.projections.engines.table.processor import Batches
from perdure.projections.engines.table.storage import TableStorage
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.failures import EventFailure
from perdure.projections.state.parked_events import ParkedEvents
from perdure.projections.state.scope import EVERYTHING, Scope
from perdure.projections.state.segments import Checkpoint, Segment, Segments, checkpoint_at
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold_tables
from tests.projections.checking import tables_in
from tests.projections.counting import Broken, Closed, Pages, Total, Visited

FAILURE = EventFailure(
    global_position=9,
    stream_id="x-1",
    stream_version=9,
    event_id=UUID(int=9),
    event_type="test",
    error_type="RuntimeError",
    message="as asked",
    traceback="",
    attempts=1,
    failed_at=datetime(2020, 1, 1, tzinfo=UTC),
)


def visits(*pages: str) -> list[object]:
    return [Visited(page=page, visitor="x") for page in pages]


@dataclass
class Stage:
    """A projection whose batches are taken by hand."""

    store: PostgreSQLEventStore
    definition: TableDefinition
    segments: Segments
    batches: Batches
    events: list[StoredEvent] = field(default_factory=list)

    async def append(self, *events: object) -> None:
        await self.store.append_to_stream("x-1", ANY, list(events))
        self.events = await self.store.read_all_events()

    async def group(self) -> list[Segment]:
        return await self.segments.read()

    async def take(
        self, first: int, last: int, then: Sequence[StoredEvent] = (), scope: Scope = EVERYTHING
    ) -> BatchResult:
        """Take some of the events; let those be foreseen that come then."""

        async def following() -> Sequence[StoredEvent]:
            return list(then)

        return await self.batches.take(await self.group(), self.events[first:last], scope, following)

    async def made_ready(self, events: Sequence[StoredEvent], after: StoredEvent | None = None) -> Ready | None:
        """What is ready for events, the segments being after a certain one, if told, and else where they are."""
        group = await self.group()
        if after is not None:
            group = [segment._replace(checkpoint=checkpoint_at(after)) for segment in group]
        return await self.batches.preparing.take(group, list(events), EVERYTHING)

    def rows(self, ready: Ready) -> dict[str, Any]:
        table = self.definition.table
        return {key[0]: table.codec.decode(row) for key, row in ready.rows.get(table.name, {}).items()}


async def set_up(store: PostgreSQLEventStore, projection: TableProjection[Any]) -> Stage:
    definition = TableDefinition(projection)
    storage, segments = TableStorage(definition, "public"), Segments(store.database, definition.build, "a test", 60)
    parking = ParkedEvents(store.database, definition.build, definition.key_codec, "a test", limit=10)
    await BuildSetup(store.database, definition, storage, "public").set_up(segments=1)
    await segments.acquire(1)
    return Stage(store, definition, segments, Batches(store.database, definition, segments, storage, parking))


@pytest.fixture
def written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are written when what comes next is ready: so no other connection can see them while that is loaded."""
    write, begin, tasks = TableStorage.write, Preparing.begin, list[asyncio.Task[Any]]()

    def begin_and_tell(self: Preparing, *arguments: Any) -> None:
        begin(self, *arguments)
        tasks.extend(next_batches())

    async def write_later(self: TableStorage, *arguments: Any) -> None:
        if tasks:
            await asyncio.wait(tasks)
        await write(self, *arguments)

    monkeypatch.setattr(Preparing, "begin", begin_and_tell)
    monkeypatch.setattr(TableStorage, "write", write_later)


@pytest.fixture
async def stage(store: PostgreSQLEventStore, written_later: None) -> AsyncIterator[Stage]:
    """Six visits, of which four are to be taken two by two."""
    stage = await set_up(store, Pages())
    await stage.append(*visits("a", "b", "b", "c", "d", "e"))
    yield stage
    await stage.batches.preparing.close(5)


async def test_what_comes_next_is_made_ready_while_a_batch_is_written(stage: Stage) -> None:
    await stage.take(0, 2, then=stage.events[2:4])
    ready = await stage.made_ready(stage.events[2:4])

    assert ready is not None
    assert [step.stored for step in ready.plan.steps] == stage.events[2:4]
    assert {page: row.visits for page, row in stage.rows(ready).items()} == {"b": 1}


async def test_of_what_is_in_memory_only_the_rows_are_kept_that_come_next(stage: Stage) -> None:
    await stage.take(0, 2, then=stage.events[3:5])
    ready = await stage.made_ready(stage.events[3:5])

    assert ready is not None
    assert stage.rows(ready) == {}


class Gone(TableProjection[Total], table="gone", key="page"):
    """Rows without children, which are deleted."""

    @handles
    def visited(self, event: Visited, row: Total | None) -> Total:
        return Total(event.page, 1 if row is None else row.events + 1)

    @handles
    def closed(self, event: Closed, row: Total | None) -> Total | None:
        return None


async def test_a_row_that_a_batch_deletes_is_not_there_for_the_next_one(
    store: PostgreSQLEventStore, database_url: str, written_later: None
) -> None:
    """The connection that loads still sees it."""
    stage = await set_up(store, Gone())
    await stage.append(*visits("a", "b"), Closed(page="a"), *visits("b", "a", "b"))
    await stage.take(0, 2)
    await stage.take(2, 4, then=stage.events[4:6])
    ready = await stage.made_ready(stage.events[4:6])

    assert ready is not None
    assert stage.rows(ready) == {"b": Total("b", 2)}


# --- Dropped unless all is as it was foreseen -------------------------------------------------------------------------


def with_segment(**changes: Any) -> Any:
    return lambda given: given.__dict__.update(group=[given.group[0]._replace(**changes)])


def with_scope(**changes: Any) -> Any:
    return lambda given: given.__dict__.update(scope=Scope(**changes))


def with_events(change: Any) -> Any:
    return lambda given: given.__dict__.update(events=change(given.events))


@pytest.mark.parametrize(
    ("change", "is_used"),
    [
        (lambda _: None, True),
        (with_segment(checkpoint=Checkpoint(1, UUID(int=1))), False),
        (with_segment(checkpoint=Checkpoint(2, UUID(int=1))), False),
        (with_segment(epoch=9), False),
        (with_segment(last_hash=32767), False),
        (with_segment(first_hash=1), False),
        (lambda given: given.group.append(given.group[0]), False),
        (with_scope(skipped={(3, None)}), False),
        (with_scope(skipped={(9, ("a",))}), False),
        (with_scope(blocked={("a",)}), False),
        (with_scope(parked={(3, ("b",)): FAILURE}), False),
        (with_scope(only=("b",)), False),
        (with_events(lambda events: events[:1]), False),
        (with_events(lambda events: [*events, events[0]]), False),
        (with_events(list), True),
    ],
)
async def test_what_is_ready_is_used_only_for_what_it_was_made_for(stage: Stage, change: Any, is_used: bool) -> None:
    await stage.take(0, 2, then=stage.events[2:4])
    given = SimpleNamespace(group=await stage.group(), events=stage.events[2:4], scope=EVERYTHING)
    change(given)

    preparing = stage.batches.preparing
    assert (await preparing.take(given.group, given.events, given.scope) is not None) == is_used
    assert await stage.made_ready(stage.events[2:4]) is None, "once looked at, it is used or gone"


async def test_what_was_read_anew_is_made_ready_anew(stage: Stage) -> None:
    """It may have been read from another server."""
    await stage.take(0, 2, then=stage.events[2:4])

    assert await stage.made_ready((await stage.store.read_all_events())[2:4]) is None


async def test_nothing_is_ready_after_parked_events_were_taken(stage: Stage) -> None:
    await stage.take(0, 2, then=stage.events[2:4])
    [segment] = await stage.group()
    await stage.batches.take_parked(segment, ("b",), [])

    assert await stage.made_ready(stage.events[2:4]) is None


async def test_nothing_is_ready_after_a_batch_with_a_failure(store: PostgreSQLEventStore, written_later: None) -> None:
    stage = await set_up(store, Pages(is_broken=True))
    await stage.append(*visits("a"), Broken(page="a"), *visits("b"))
    taken = await stage.take(0, 2, then=stage.events[2:3])

    assert (taken.done, taken.failure is not None) == (1, True)
    # Not even when the failed event was skipped since, so that the checkpoint is where it was foreseen.
    assert await stage.made_ready(stage.events[2:3], after=stage.events[1]) is None


@pytest.mark.parametrize("trouble", [asyncpg.CheckViolationError, StoreUnavailableError, asyncio.CancelledError])
async def test_nothing_is_ready_after_a_batch_that_was_not_written(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, trouble: type[BaseException]
) -> None:
    async def fail(*_: object) -> None:
        raise trouble("as asked")

    monkeypatch.setattr(TableStorage, "write", fail)
    with suppress(trouble):
        await stage.take(0, 2, then=stage.events[2:4])

    assert await stage.made_ready(stage.events[2:4], after=stage.events[1]) is None


async def test_nothing_is_made_ready_while_children_of_a_deleted_row_are_in_the_database_only(
    stage: Stage, database_url: str
) -> None:
    """The connection that loads still sees them."""
    await stage.append(Closed(page="a"), *visits("a"))
    await stage.take(0, 6)
    await stage.take(6, 7, then=stage.events[7:8])

    assert await stage.made_ready(stage.events[7:8]) is None
    await stage.take(7, 8)
    _, tables = await tables_in(database_url, Pages())
    assert tables == fold_tables(Pages(), stage.events)
    assert tables["pages"]["a"].visitors == 1


@pytest.mark.parametrize(
    "scope",
    [
        Scope(skipped=frozenset({(9, None)})),
        Scope(blocked={("z",)}),
        Scope(parked={(9, ("z",)): FAILURE}),
    ],
)
async def test_nothing_is_made_ready_while_events_are_parked_or_skipped(stage: Stage, scope: Scope) -> None:
    await stage.take(0, 2, then=stage.events[2:4], scope=scope)

    assert await stage.made_ready(stage.events[2:4]) is None


@pytest.mark.parametrize("statement", ["are_owned", "load"])
async def test_what_goes_wrong_while_it_is_made_ready_is_met_in_the_ordinary_way(
    stage: Stage, database_url: str, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    owner: Any = Segments if statement == "are_owned" else TableStorage
    original, failures = getattr(owner, statement), ["once"]

    async def fail_once(self: Any, *arguments: Any) -> Any:
        task = asyncio.current_task()
        if failures and task is not None and "next batch" in task.get_name():
            raise StoreUnavailableError(failures.pop())
        return await original(self, *arguments)

    monkeypatch.setattr(owner, statement, fail_once)
    await stage.take(0, 2, then=stage.events[2:4])
    assert not failures
    assert await stage.made_ready(stage.events[2:4]) is None
    await stage.take(2, 6)

    _, tables = await tables_in(database_url, Pages())
    assert tables == fold_tables(Pages(), stage.events)


# --- The other connection ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "stands"),
    [
        ("global_position = 2", True),
        ("global_position = 3", True),
        ("global_position = 1", False),
        ("epoch = epoch + 1", False),
        ("owner = 'somebody else'", False),
    ],
)
async def test_a_server_that_does_not_know_of_the_last_batch_makes_nothing_ready(
    stage: Stage, connection: asyncpg.Connection, change: str, stands: bool
) -> None:
    """As when one connection leads to a server that has failed over, and doesn't know it."""
    await stage.take(0, 2)
    group = await stage.group()
    await connection.execute(f"update perdure.projection_segments set {change}")

    assert await stage.segments.are_owned(connection, group) == stands


async def test_rows_are_loaded_only_where_the_segments_stand(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stand(*_: object) -> bool:
        return False

    monkeypatch.setattr(Segments, "are_owned", stand)
    await stage.take(0, 2, then=stage.events[2:4])

    assert await stage.made_ready(stage.events[2:4]) is None


async def test_with_one_connection_it_is_made_ready_when_that_is_free(database_url: str) -> None:
    async with PostgreSQLEventStore(database_url, pool_size=1) as store:
        stage = await set_up(store, Pages())
        await stage.append(*visits("a", "b", "b", "c"))
        async with asyncio.timeout(30):
            await stage.take(0, 2, then=stage.events[2:4])
            await stage.take(2, 4, then=stage.events[4:])
            await stage.batches.preparing.close(5)

        _, tables = await tables_in(database_url, Pages())
        assert tables == fold_tables(Pages(), stage.events)


async def test_closing_leaves_nothing_running(stage: Stage) -> None:
    reached, never = asyncio.Event(), asyncio.Event()

    async def wait_for_ever() -> Sequence[StoredEvent]:
        reached.set()
        await never.wait()
        return ()

    preparing = stage.batches.preparing
    ready = Ready(BatchPlan([], [], None), {}, {})
    for _ in range(2):
        preparing.begin(await stage.group(), stage.events[:2], EVERYTHING, ready, wait_for_ever)
        await reached.wait()
        reached.clear()
    assert next_batches()
    await preparing.close(5)

    assert not next_batches()


def next_batches() -> list[asyncio.Task[Any]]:
    """What makes them ready."""
    return [task for task in asyncio.all_tasks() if "next batch" in task.get_name()]


# --- The runner -------------------------------------------------------------------------------------------------------


async def test_rows_that_were_mended_during_a_pause_are_those_that_events_meet(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause comes just after a batch was written, when the next one is ready."""
    take, forget, operations = Batches.take, Preparing.forget, ProjectionOperations(store)
    is_paused, is_forgotten = False, asyncio.Event()

    async def take_and_pause(self: Batches, *arguments: Any) -> BatchResult:
        nonlocal is_paused
        taken = await take(self, *arguments)
        if not is_paused:
            await asyncio.wait(next_batches())
            is_paused = True
            await operations.pause("pages")
            [runner] = service._builds.of("pages")
            await runner.look()
        return taken

    def forget_and_tell(self: Preparing) -> None:
        forget(self)
        if is_paused:
            is_forgotten.set()

    monkeypatch.setattr(Batches, "take", take_and_pause)
    monkeypatch.setattr(Preparing, "forget", forget_and_tell)
    saved = await store.append_to_stream("x-1", ANY, visits("a", "a", "b", "b"))
    async with ProjectionService(store, [Pages()], batch_size=2) as service:
        await asyncio.wait_for(is_forgotten.wait(), timeout=30)
        mended = "insert into pages__v1 (page, visits, visitors, seconds, path) values ('b', 70, 0, 0, '{}')"
        await connection.execute(mended)
        await operations.resume("pages")
        await service.wait_for("pages", saved, timeout=30)

    _, tables = await tables_in(database_url, Pages())
    assert tables["pages"]["b"].visits == 72
