"""Who works on which segment: fair shares, taken over from the dead, given back in peace, cut when too few."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.commit import ANY
from perdure.errors import InvalidArgumentError
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.runtime.leases import Leases, share_of
from perdure.projections.service import ProjectionService
from perdure.projections.state.segments import LAST_HASH, MOST_SEGMENTS, FencedError, Segment, Segments, checkpoint_at
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.checking import check_against_fold
from tests.projections.counting import Pages, Visited


@given(st.sets(st.text(min_size=1), min_size=1, max_size=9), st.integers(0, MOST_SEGMENTS))
def test_shares_are_fair_and_use_up_all_segments(runners: set[str], segments: int) -> None:
    shares = [share_of(runner, sorted(runners), segments) for runner in runners]

    assert sum(shares) == segments
    assert max(shares) - min(shares) <= 1


async def owned(connection: asyncpg.Connection) -> dict[str, int]:
    """How many segments each runner has a lease of."""
    rows = await connection.fetch(
        "select owner, count(*) from perdure.projection_segments where leased_until > clock_timestamp() group by owner"
    )
    return dict(tuple(row) for row in rows)


async def until_shared(connection: asyncpg.Connection, *shares: int) -> dict[str, int]:
    """Wait until the segments are shared so."""
    while sorted((found := await owned(connection)).values()) != sorted(shares):  # noqa: ASYNC110 - no process announces it
        await asyncio.sleep(0.01)
    return found


async def covered(connection: asyncpg.Connection) -> Counter[int]:
    """How many segments hold each hash."""
    rows = await connection.fetch("select first_hash, last_hash from perdure.projection_segments")
    return Counter(one for row in rows for one in range(row["first_hash"], row["last_hash"] + 1))


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.projections.runtime.leases._HEARTBEAT_INTERVAL", 0.02)


@pytest.mark.parametrize("segments", [1, 3, 8, 256])
async def test_a_new_projection_is_cut_into_segments_that_hold_every_key_once(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, segments: int
) -> None:
    async with ProjectionService(store, [Pages()], segments=segments):
        assert await until_shared(connection, segments)

    assert await covered(connection) == dict.fromkeys(range(LAST_HASH + 1), 1)
    spread = "select max(last_hash - first_hash) - min(last_hash - first_hash) from perdure.projection_segments"
    assert await connection.fetchval(spread) <= 1


async def test_processes_that_come_and_go_get_and_give_back_their_fair_share(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    async with ProjectionService(store, [Pages()], segments=8) as first:
        await until_shared(connection, 8)
        async with ProjectionService(store, [Pages()], segments=8) as second:
            await until_shared(connection, 4, 4)
            async with ProjectionService(store, [Pages()], segments=8):
                await until_shared(connection, 2, 3, 3)
                saved = await store.append_to_stream(
                    "x-1", ANY, [Visited(page=f"p{n}", visitor="x") for n in range(99)]
                )
                await second.wait_for("pages", saved, timeout=30)
                await check_against_fold(store, database_url, Pages())
            await until_shared(connection, 4, 4)
        await until_shared(connection, 8)
        assert list(await owned(connection)) == [first._builds.runners_of("pages")[0].name]
    assert await owned(connection) == {}
    assert await connection.fetchval("select count(*) from perdure.projection_runners") == 0


async def test_segments_are_cut_in_two_when_there_are_fewer_than_processes(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    saved = await store.append_to_stream("x-1", ANY, [Visited(page=f"p{n}", visitor="x") for n in range(50)])
    async with AsyncExitStack() as services:
        for count in range(1, 6):
            service = await services.enter_async_context(ProjectionService(store, [Pages()], batch_size=7))
            while len(await owned(connection)) < count:  # noqa: ASYNC110 - no process announces it
                await asyncio.sleep(0.01)
            await service.wait_for("pages", saved, timeout=30)
        assert await covered(connection) == dict.fromkeys(range(LAST_HASH + 1), 1)

    assert await check_against_fold(store, database_url, Pages()) == saved.global_position


async def test_more_segments_can_be_asked_for_later(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Pages()]):
        await until_shared(connection, 1)
    async with ProjectionService(store, [Pages()], segments=5):
        await until_shared(connection, 5)

    assert await covered(connection) == dict.fromkeys(range(LAST_HASH + 1), 1)


async def owned_by(segments: Segments, runner: str) -> list[Segment]:
    return [segment for segment in await segments.read() if segment.owner == runner]


async def test_a_build_that_was_dropped_has_no_segments_to_share(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Pages()]):
        pass
    segments = Segments(store.database, TableDefinition(Pages()).build, "a test", 60)
    await connection.execute("delete from perdure.projections")

    assert await Leases(segments, "a test", least=1).renew(0, None) == []


async def test_a_segment_is_acquired_only_once_its_lease_has_ended(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Pages()], segments=2):
        pass
    one, other = (Segments(store.database, TableDefinition(Pages()).build, name, 60) for name in ("one", "other"))
    await one.acquire(2)
    await other.acquire(2)
    assert await owned_by(other, "other") == []

    await connection.execute("update perdure.projection_segments set leased_until = now() where first_hash = 0")
    await other.acquire(2)
    (taken,) = await owned_by(other, "other")
    assert taken.epoch == 1 + next(one.epoch for one in await other.read() if one.owner == "one")


async def test_a_runner_that_lost_a_segment_can_not_move_release_split_or_pause_it(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """Also when the same process got it back in between: its epoch is another."""
    async with ProjectionService(store, [Pages()]):
        pass
    await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
    (event,) = await store.read_all_events()
    one, other = (Segments(store.database, TableDefinition(Pages()).build, name, 60) for name in ("one", "other"))
    await one.acquire(1)
    lost = await owned_by(one, "one")
    for taker in (other, one):
        await connection.execute("update perdure.projection_segments set leased_until = now()")
        await taker.acquire(1)
        before = await connection.fetch("select * from perdure.projection_segments")
        with pytest.raises(FencedError):
            async with store.database.connection() as pooled, pooled.transaction():
                await one.advance(pooled, lost, checkpoint_at(event))
        await one.split(lost[0])
        if taker is other:
            await one.release(lost)
        assert await connection.fetch("select * from perdure.projection_segments") == before


async def test_a_process_that_freezes_in_its_transaction_is_cut_off_by_the_server(
    store: PostgreSQLEventStore,
) -> None:
    """Or the lock on its segment's row would keep all others out for as long as it stands still."""
    async with ProjectionService(store, [Pages()]):
        pass
    await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
    (event,) = await store.read_all_events()
    frozen, other = (
        Segments(store.database, TableDefinition(Pages()).build, name, 0.2) for name in ("frozen", "other")
    )
    await frozen.acquire(1)
    connection = await store.database.connect()
    transaction = connection.transaction()
    await transaction.start()
    await frozen.advance(connection, await owned_by(frozen, "frozen"), checkpoint_at(event))

    while not await owned_by(other, "other"):
        await other.acquire(1)
        await asyncio.sleep(0.01)

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await transaction.commit()
    (segment,) = await other.read()
    assert segment.global_position == 0


@pytest.mark.parametrize(
    ("argument", "value"),
    [("segments", 0), ("segments", 257), ("segments", True), ("segments", "8"), ("lease", 0), ("lease", "1"),
     ("lease", float("nan")), ("lease", 10**9), ("max_parked", 0), ("max_parked", None), ("batch_size", True)],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(store: PostgreSQLEventStore, argument: str, value: object) -> None:
    options: dict[str, object] = {argument: value}
    with pytest.raises(InvalidArgumentError, match=argument):
        ProjectionService(store, [Pages()], **options)  # type: ignore[arg-type]  # what is tested
