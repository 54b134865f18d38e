"""Where a projection begins in the log: the position is found and recorded once, when it is first set up."""

import asyncio
from functools import partial
from uuid import UUID, uuid4

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import (
    BuildStateError,
    InvalidArgumentError,
    LogDivergedError,
    ProjectionDefinitionError,
    StoreUnavailableError,
)
from perdure.events import StoredEvent
from perdure.log import NOW, SubscriptionStart
from perdure.projection import Projection, ProjectionTransaction
from perdure.projections.builds import first_checkpoint
from perdure.projections.builds.setup import BuildSetup
from perdure.projections.service import ProjectionService
from perdure.projections.state.segments import Segments
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.rebuilding import visits
from tests.stores.postgres.races import until, until_waiting

STARTS = """
    select p.kind, p.start_position, p.start_event_id, s.global_position, s.event_id
    from perdure.projections p join perdure.projection_segments s using (name, version, build)
    order by p.version, p.build
"""


class News(Projection, name="news", start=NOW):
    """Notes the positions of the events that it gets."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
        self.seen.append(event.global_position)


class LaterNews(News, name="news", version=2, start=NOW):
    """The next version."""


def from_position(start: int | SubscriptionStart, version: int = 1) -> News:
    """The same projection with another start."""

    class Elsewhere(News, name="news", version=version, start=start):
        pass

    return Elsewhere()


async def start_of(connection: asyncpg.Connection) -> list[object]:
    [row] = await connection.fetch(STARTS)
    return list(row)


async def append(store: PostgreSQLEventStore, count: int) -> int:
    return (await store.append_to_stream("x-1", ANY, visits(count))).global_position


def is_of_length(seen: list[int], length: int) -> bool:
    return len(seen) >= length


async def set_up_only(store: PostgreSQLEventStore, news: News) -> None:
    """What a process leaves behind that dies after the set-up, before its first batch."""
    service = ProjectionService(store, [news])
    [runner] = service._builds._runners.values()
    assert await runner.set_up()


async def test_it_gets_what_is_appended_after_its_first_set_up(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    last = await append(store, 3)
    news = News()
    async with ProjectionService(store, [news]) as service:
        saved = await append(store, 2)
        await service.wait_for("news", saved, timeout=30)
    assert news.seen == [last + 1, last + 2]
    [kind, start, event_id, *_] = await start_of(connection)
    assert (kind, start) == ("projection", last)
    assert event_id == (await store.read_all_events(last - 1, 1))[0].event_id


async def test_on_an_empty_log_now_is_the_beginning(store: PostgreSQLEventStore) -> None:
    news = News()
    async with ProjectionService(store, [news]) as service:
        await service.wait_for("news", await append(store, 1), timeout=30)
    assert news.seen == [1]


async def test_an_append_that_is_open_at_the_set_up_comes_after_the_start(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore
) -> None:
    await append(store, 1)
    news = News()
    async with elsewhere.transaction() as tx:
        await elsewhere.append_to_stream("x-2", ANY, visits(1), tx=tx)
        await append(store, 1)
        await set_up_only(store, news)
    async with ProjectionService(store, [news]) as service:
        await service.wait_for("news", 3, timeout=30)
    assert news.seen == [2, 3]


async def test_now_does_not_move_if_the_process_dies_before_its_first_batch(store: PostgreSQLEventStore) -> None:
    last = await append(store, 3)
    await set_up_only(store, News())
    saved = await append(store, 2)
    news = News()
    async with ProjectionService(store, [news]) as service:
        await service.wait_for("news", saved, timeout=30)
    assert news.seen == [last + 1, last + 2]


async def test_of_two_processes_that_set_it_up_the_first_decides(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await append(store, 1)
    await connection.execute("select pg_advisory_lock(737, hashtext('news'))")
    first = asyncio.create_task(set_up_only(store, News()))
    await until_waiting(connection, 1, first)
    await append(store, 1)
    second = asyncio.create_task(set_up_only(elsewhere, News()))
    await until_waiting(connection, 2, first, second)
    await connection.execute("select pg_advisory_unlock(737, hashtext('news'))")
    await asyncio.gather(first, second)
    [*_, position, event_id] = await start_of(connection)
    assert position == 1
    assert event_id == (await store.read_all_events(0, 1))[0].event_id


async def test_the_next_version_goes_on_where_the_one_before_is(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    first, second = News(), LaterNews()
    async with ProjectionService(store, [first]) as service:
        await service.wait_for("news", await append(store, 2), timeout=30)
    saved = await append(store, 2)
    async with ProjectionService(store, [second]) as service:
        await service.wait_for("news", saved, timeout=30)
    assert (first.seen, second.seen) == ([1, 2], [3, 4])
    assert [row[1] for row in await connection.fetch(STARTS)] == [0, 2]


async def test_a_position_holds_for_each_version(store: PostgreSQLEventStore) -> None:
    await append(store, 3)
    seen = []
    for version in (1, 2):
        news = from_position(1, version)
        async with ProjectionService(store, [news]):
            await until(partial(is_of_length, news.seen, 2))
        seen.append(news.seen)
    assert seen == [[2, 3], [2, 3]]


async def test_a_position_beyond_the_end_of_the_log_is_refused_and_nothing_is_set_up(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await append(store, 3)
    with pytest.raises(ProjectionDefinitionError, match="begins after position 4, which is beyond the end of the log"):
        await ProjectionService(store, [from_position(4)]).start()
    assert await connection.fetch(STARTS) == []
    await ProjectionService(store, [from_position(3)]).start()


async def test_it_does_not_begin_at_0_if_the_end_of_the_log_cannot_be_read(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(store, 3)

    async def unreadable(*_: object) -> None:
        raise StoreUnavailableError("the database is away")

    monkeypatch.setattr(first_checkpoint, "find_start", unreadable)
    with pytest.raises(StoreUnavailableError):
        await ProjectionService(store, [News()]).start()
    assert await connection.fetch(STARTS) == []


async def test_it_does_not_begin_at_0_if_its_build_is_dropped_amid_the_set_up(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(store, 3)
    await set_up_only(store, News())
    is_recorded = BuildSetup.is_recorded

    async def then_dropped(self: BuildSetup) -> bool:
        found = await is_recorded(self)
        await connection.execute("delete from perdure.projections")
        return found

    monkeypatch.setattr(BuildSetup, "is_recorded", then_dropped)
    with pytest.raises(BuildStateError, match="was dropped a moment ago: set it up again"):
        await ProjectionService(store, [News()]).start()
    assert await connection.fetch(STARTS) == []


async def test_a_log_that_lacks_the_event_of_the_start_is_another_log(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    # As after a failover to a standby that hadn't got the last events: positions are given a second time.
    await append(store, 3)
    await set_up_only(store, News())
    await connection.execute("update perdure.projection_segments set event_id = $1", uuid4())
    with pytest.raises(LogDivergedError, match="projection 'news'"):
        await ProjectionService(store, [News()]).start()


async def test_a_start_at_a_position_remembers_its_event(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await append(store, 3)
    await set_up_only(store, from_position(2))
    [_, start, start_id, position, event_id] = await start_of(connection)
    assert (start, position) == (2, 2)
    assert start_id == event_id == (await store.read_all_events(1, 1))[0].event_id
    assert isinstance(event_id, UUID)


@pytest.mark.parametrize("start", [-1, True, "now", 1.5, None, 2**63])
def test_another_start_is_refused(start: object) -> None:
    with pytest.raises(ProjectionDefinitionError, match="or say start=NOW"):
        from_position(start)  # type: ignore[arg-type] # wrong on purpose


def test_tables_need_the_whole_log(store: PostgreSQLEventStore) -> None:
    class Kept(News, name="kept", start=NOW):
        tables = {"kept": "create table {kept} (position bigint)"}

    with pytest.raises(ProjectionDefinitionError, match="its tables need the whole log"):
        ProjectionService(store, [Kept()])


async def test_segments_begin_at_the_start(store: PostgreSQLEventStore) -> None:
    last = await append(store, 3)
    service = ProjectionService(store, [News()])
    [runner] = service._builds._runners.values()
    await runner.set_up()
    segments: Segments = runner._failures._segments
    assert [segment.global_position for segment in await segments.read()] == [last]


def test_the_refusal_tells_the_argument() -> None:
    with pytest.raises(ProjectionDefinitionError) as refused:
        from_position(-1)
    assert isinstance(refused.value.__cause__, InvalidArgumentError)
