"""Reading on a standby: in the exact order of the log, nothing skipped, up to what the primary has published."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
import pytest

import perdure
from perdure.commit import ANY, StreamAppend
from perdure.errors import (
    ConfigurationError,
    LogDivergedError,
    LogHeldBackError,
    ReadOnlyStoreError,
    StoreUnavailableError,
)
from perdure.projections.live import LiveProjection
from perdure.projections.service import ProjectionService
from perdure.snapshot import Snapshot
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Tally
from tests.cluster import Server, servers, url_of
from tests.stores.postgres.races import Noted, end_sessions, notes, other_connection, texts, until

pytestmark = pytest.mark.server  # the tests start servers of their own


class Pair(NamedTuple):
    """A primary and its standby, with a database of the test's own."""

    primary: Server
    standby: Server
    database: str

    @property
    def url(self) -> str:
        return self.primary.url(self.database)

    @property
    def replica_url(self) -> str:
        return self.standby.url(self.database)

    async def published(self, position: int) -> None:
        """Wait until the standby knows that it may be read up to there."""
        async with other_connection(self.replica_url) as connection:
            query = "select global_position from perdure.published"
            while await connection.fetchval(query) < position:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.005)


@asynccontextmanager
async def a_pair() -> AsyncGenerator[tuple[Server, Server]]:
    async with servers() as cluster:
        primary = await cluster.primary()
        yield primary, await cluster.standby_of(primary)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Server, Server]]:
    """A primary and its standby, for all tests of this module."""
    with asyncio.Runner() as runner:
        making = a_pair()
        yield runner.run(making.__aenter__())
        runner.run(making.__aexit__(None, None, None))


_numbers = itertools.count(1)


@pytest.fixture
async def pair(both: tuple[Server, Server]) -> Pair:
    primary, standby = both
    name = f"replica_{next(_numbers)}"
    await primary.execute(f"create database {name}")
    pair = Pair(primary, standby, name)
    async with PostgreSQLEventStore(pair.url):
        pass
    await standby.caught_up(primary)
    return pair


@pytest.fixture
async def store(pair: Pair) -> AsyncIterator[PostgreSQLEventStore]:
    """The store on the primary."""
    async with PostgreSQLEventStore(pair.url) as store:
        yield store


@pytest.fixture
async def replica(pair: Pair) -> AsyncIterator[PostgreSQLEventStore]:
    """The store on the standby."""
    async with perdure.connect(pair.replica_url, read_only=True) as store:
        yield store


async def test_a_follower_on_a_standby_waits_for_what_commits_late(
    pair: Pair, store: PostgreSQLEventStore, replica: PostgreSQLEventStore
) -> None:
    followers = [replica.subscribe(), replica.subscribe(category="note"), replica.subscribe(event_types=[Noted])]
    async with store.transaction() as tx:
        await store.append_to_stream("note-1", ANY, notes("late"), tx=tx)
        await store.append_to_stream("note-2", ANY, notes("early"))
        await pair.standby.caught_up(pair.primary)
        async with other_connection(pair.replica_url) as naive:
            assert await naive.fetchval("select max(global_position) from perdure.events") == 2
        for follower in followers:
            page = await follower.next_page(patience=0)
            assert (page.events, page.held_back) == ([], True)
    await pair.published(2)
    for follower in followers:
        assert texts([await anext(follower), await anext(follower)]) == ["late", "early"]


async def test_a_standby_is_read_up_to_an_append_once_it_is_published(
    pair: Pair, store: PostgreSQLEventStore, replica: PostgreSQLEventStore
) -> None:
    async with store.transaction() as tx:
        await store.append_to_stream("note-1", ANY, notes("late"), tx=tx)
        mine = await store.append_to_stream("note-2", ANY, notes("mine"))
        await pair.standby.caught_up(pair.primary)
        with pytest.raises(LogHeldBackError, match="this standby has no later position") as caught:
            await replica.read_all_events(category="note", up_to=mine, timeout=0.05)
        reading = asyncio.create_task(replica.read_all_events(up_to=mine, timeout=3600))
        await until(lambda: bool(replica.changes._waiters) or reading.done())
        assert not reading.done()

    assert (caught.value.on_standby, caught.value.holders) == (True, ())
    assert texts(await reading) == ["late", "mine"]
    with pytest.raises(LogHeldBackError, match=f"not yet up to {mine.global_position + 1}"):  # it may be on its way
        await replica.read_all_events(up_to=mine.global_position + 1, timeout=0)


async def test_what_is_rolled_back_is_no_stall_on_a_standby(
    pair: Pair, store: PostgreSQLEventStore, replica: PostgreSQLEventStore
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as tx:
            await store.append_to_stream("note-1", ANY, notes("never"), tx=tx)
            await store.append_to_stream("note-2", ANY, notes("a"))
            raise ZeroDivisionError
    await pair.published(2)

    assert texts(await replica.read_all_events()) == ["a"]
    assert texts(await replica.read_all_events(category="note")) == ["a"]
    assert texts(await replica.read_all_events_backwards()) == ["a"]


async def test_a_standby_is_read_in_every_way(
    pair: Pair, store: PostgreSQLEventStore, replica: PostgreSQLEventStore
) -> None:
    result = await store.append_to_stream("note-1", ANY, notes("a", "b"))
    await pair.published(2)

    assert texts(await replica.read_stream("note-1")) == ["a", "b"]
    assert await replica.stream_version("note-1") == result.stream_version
    assert await LiveProjection(replica, Tally()).query() == []
    await replica.check_writable()  # the database can be reached, and no more is asked for
    assert replica.is_listening is None


async def test_nothing_is_written_by_a_store_that_reads_only(
    pair: Pair, replica: PostgreSQLEventStore, store: PostgreSQLEventStore
) -> None:
    async with PostgreSQLEventStore(pair.url, read_only=True) as on_primary:
        for one in (replica, on_primary):
            with pytest.raises(ReadOnlyStoreError, match="on the primary"):
                await one.append_to_stream("note-1", ANY, notes("a"))
            with pytest.raises(ReadOnlyStoreError):
                await one.append_to_streams([StreamAppend("note-1", ANY, notes("a"))])
            with pytest.raises(ReadOnlyStoreError):
                one.transaction()
            with pytest.raises(ReadOnlyStoreError):
                await one.write_snapshot(Snapshot("note-1", 1, (await first(store)).event_id, 1, "", "{}"))
            with pytest.raises(ReadOnlyStoreError):
                ProjectionService(one, [Tally()])
    assert len(await store.read_all_events()) == 1


async def first(store: PostgreSQLEventStore) -> perdure.StoredEvent:
    if not (events := await store.read_all_events(max_count=1)):
        await store.append_to_stream("note-1", ANY, notes("first"))
        return await first(store)
    return events[0]


async def test_a_standby_is_opened_only_to_be_read(pair: Pair) -> None:
    with pytest.raises(ConfigurationError, match="read_only"):
        await PostgreSQLEventStore(pair.replica_url).open()
    both = url_of(pair.standby, pair.primary, database=pair.database)
    async with PostgreSQLEventStore(both) as store:
        await store.append_to_stream("note-1", ANY, notes("a"))  # the primary was found
    async with PostgreSQLEventStore(both, read_only=True) as store:
        assert await store.database.fetch_value("select pg_is_in_recovery()")
    async with PostgreSQLEventStore(f"{both}?target_session_attrs=primary", read_only=True) as store:
        assert not await store.database.fetch_value("select pg_is_in_recovery()")


async def test_a_checkpoint_that_a_standby_has_not_reached_is_waited_for(
    pair: Pair, store: PostgreSQLEventStore, replica: PostgreSQLEventStore
) -> None:
    await pair.standby.execute("select pg_wal_replay_pause()")
    try:
        await store.append_to_stream("note-1", ANY, notes("a", "b"))
        [one, _] = await store.read_all_events()
        follower = replica.subscribe(one.global_position, from_event_id=one.event_id)
        with pytest.raises(StoreUnavailableError, match="lags"):
            await follower.next_page(patience=0)
        following = asyncio.ensure_future(anext(follower))
    finally:
        await pair.standby.execute("select pg_wal_replay_resume()")
    assert texts([await following]) == ["b"]
    await pair.published(2)
    stranger = replica.subscribe(2, from_event_id=one.event_id)
    with pytest.raises(LogDivergedError):
        await anext(stranger)


async def test_a_position_that_was_found_safe_elsewhere_is_not_relied_on(
    pair: Pair, store: PostgreSQLEventStore, replica: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As through a proxy, which sends one statement here and the next one there.
    await pair.standby.execute("select pg_wal_replay_pause()")
    fetch = replica.database.fetch

    async def proxied(sql: str, *arguments: object) -> list[asyncpg.Record]:
        return await (store.database.fetch if "safe_position()" in sql else fetch)(sql, *arguments)

    try:
        await store.append_to_stream("note-1", ANY, notes("a"))
        monkeypatch.setattr(replica.database, "fetch", proxied)
        with pytest.raises(StoreUnavailableError, match="lags"):
            await replica.read_all_events(category="note")
    finally:
        await pair.standby.execute("select pg_wal_replay_resume()")


async def test_what_its_writer_left_unpublished_is_published_by_the_next_store(pair: Pair) -> None:
    async with other_connection(pair.url) as connection:
        # Nobody's store is open.
        await connection.execute(
            """
            insert into perdure.events
                (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
            values ('note-1', 1, gen_random_uuid(), 'test.races.noted', 1, '{"text": "a"}',
                '{"timestamp": "2024-01-01T00:00:00Z"}')
            """
        )
    async with PostgreSQLEventStore(pair.url):
        await pair.published(1)


async def test_publishing_survives_the_end_of_its_connection(pair: Pair, store: PostgreSQLEventStore) -> None:
    await store.append_to_stream("note-1", ANY, notes("a"))
    await pair.published(1)
    async with other_connection(pair.url) as connection:
        await end_sessions(connection)
    await store.append_to_stream("note-1", ANY, notes("b"))
    await pair.published(2)


async def test_a_follower_goes_on_when_its_standby_is_promoted() -> None:
    async with a_pair() as (primary, standby):
        both = url_of(standby, primary)
        async with PostgreSQLEventStore(both) as store:
            await standby.caught_up(primary)
            async with PostgreSQLEventStore(both, read_only=True) as replica:
                follower = replica.subscribe(category="note")
                await store.append_to_stream("note-1", ANY, notes("a"))
                assert texts([await anext(follower)]) == ["a"]
                await standby.caught_up(primary)
                await primary.kill()
                await standby.promote()
                await store.append_to_stream("note-1", ANY, notes("b"))
                assert texts([await anext(follower)]) == ["b"]
