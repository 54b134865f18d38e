"""Reading after one's own append: what includes it, or an error that names the session that holds it back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

import perdure
from perdure import schema
from perdure.commit import ANY, AppendResult
from perdure.context import context
from perdure.errors import LogHeldBackError
from perdure.log import Page
from perdure.store import EventStore
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.pooler import direct
from tests.schema.roles import new_role
from tests.stores.postgres.races import insert, notes, other_connection, texts, until

Read = Callable[..., Awaitable[list[str]]]


async def _forwards(store: EventStore, **settings: Any) -> list[str]:
    return texts(await store.read_all_events(**settings))


async def _of_a_category(store: EventStore, **settings: Any) -> list[str]:
    return texts(await store.read_all_events(category="note", **settings))


async def _backwards(store: EventStore, **settings: Any) -> list[str]:
    return texts((await store.read_all_events_backwards(**settings))[::-1])


async def _iterated(store: EventStore, **settings: Any) -> list[str]:
    return texts([one async for one in store.iterate_all_events(**settings)])


async def _caused(store: EventStore, **settings: Any) -> list[str]:
    return [one.stored.event.text for one in await store.causation_tree("request", **settings)]


WAYS = [_forwards, _of_a_category, _backwards, _iterated, _caused]


async def append(store: EventStore, text: str, stream_id: str = "note-1", **settings: Any) -> AppendResult:
    with context(correlation_id="request"):
        return await store.append_to_stream(stream_id, ANY, notes(text), **settings)


@asynccontextmanager
async def held(store: PostgreSQLEventStore, database_url: str, name: str) -> AsyncIterator[int]:
    """An append that stays open for as long as the block lasts, in a session of this name. Gives its pid."""
    connection = await asyncpg.connect(direct(database_url), server_settings={"application_name": name})
    try:
        async with store.transaction(connection) as tx:
            await append(store, "held", f"note-{name}", tx=tx)
            yield connection.get_server_pid()
    finally:
        connection.terminate()


@pytest.mark.parametrize("read", WAYS)
async def test_an_append_of_ones_own_is_read_or_the_session_is_named_that_holds_it_back(
    store: PostgreSQLEventStore, database_url: str, read: Read
) -> None:
    began = datetime.now(UTC)
    async with held(store, database_url, "slow importer") as pid:
        mine = await append(store, "mine")
        assert await read(store) == []  # as it may be without up_to

        with pytest.raises(LogHeldBackError, match="held back by") as caught:
            await read(store, up_to=mine, timeout=0.05)

    error = caught.value
    [holder] = error.holders
    assert (holder.pid, holder.application_name, holder.state) == (pid, "slow importer", "idle in transaction")
    assert holder.begun_at is not None
    assert abs((holder.begun_at - began).total_seconds()) < 60
    assert (error.global_position, error.timeout, error.on_standby) == (mine.global_position, 0.05, False)
    assert error.reached < mine.global_position
    assert f"pid {pid} (slow importer, idle in transaction, in its transaction since" in str(error)
    assert await read(store, up_to=mine) == ["held", "mine"]


@pytest.mark.parametrize("read", WAYS)
async def test_a_read_waits_until_the_append_before_it_has_ended(
    store: PostgreSQLEventStore, database_url: str, read: Read
) -> None:
    async with held(store, database_url, "slow importer"):
        mine = await append(store, "mine")
        reading = asyncio.ensure_future(read(store, up_to=mine, timeout=3600))
        await until(lambda: bool(store.changes._waiters) or reading.done())
        assert not reading.done()

    assert await reading == ["held", "mine"]


async def test_a_read_waits_for_a_rollback_that_nobody_announces(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with held(store, database_url, "doomed"):
            mine = await append(store, "mine")
            reading = asyncio.ensure_future(_forwards(store, up_to=mine, timeout=3600))
            await until(lambda: bool(store.changes._waiters) or reading.done())
            raise ZeroDivisionError

    assert await reading == ["mine"]
    assert await _forwards(store, up_to=mine.global_position - 1) == ["mine"]  # the position that was rolled back


async def test_only_the_sessions_in_the_way_are_named(store: PostgreSQLEventStore, database_url: str) -> None:
    async with held(store, database_url, "first") as first, held(store, database_url, "second") as second:
        mine = await append(store, "mine")
        async with held(store, database_url, "later"):
            with pytest.raises(LogHeldBackError) as caught:
                await _forwards(store, up_to=mine, timeout=0)

    assert [holder.pid for holder in caught.value.holders] == [first, second]


async def test_a_session_that_ends_while_it_is_named_holds_nothing_back(
    store: PostgreSQLEventStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held(store, database_url, "slow importer"):
        mine = await append(store, "mine")
        name_holders, ended = store.fence_holders, asyncio.Event()

        async def named_then_ended(before_position: int) -> Any:
            holders = await name_holders(before_position)
            asked.set()
            await ended.wait()
            return holders

        asked = asyncio.Event()
        monkeypatch.setattr(store, "fence_holders", named_then_ended)
        reading = asyncio.ensure_future(_forwards(store, up_to=mine, timeout=0))
        await asked.wait()
    ended.set()

    assert await reading == ["held", "mine"]


async def test_a_user_who_may_not_see_other_sessions_gets_the_pid_and_the_name(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    async with held(store, database_url, "slow importer") as pid, new_role(database_url) as (role, url):
        await schema.grant(database_url, role, "reader")
        mine = await append(store, "mine")
        async with perdure.connect(url, read_only=True) as reading:
            with pytest.raises(LogHeldBackError, match="grant pg_read_all_stats") as caught:
                await reading.read_all_events(up_to=mine, timeout=0)

    [holder] = caught.value.holders
    assert (holder.pid, holder.application_name, holder.state, holder.begun_at) == (pid, "slow importer", None, None)
    assert f"pid {pid} (slow importer; grant" in str(caught.value)


@pytest.mark.one_session  # what is prepared outlives its session
async def test_a_prepared_transaction_is_named_as_one(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    if await connection.fetchval("show max_prepared_transactions") == "0":
        pytest.skip("the server has max_prepared_transactions = 0")
    async with other_connection(database_url) as writer:
        await writer.execute("begin")
        await insert(writer, "note-2", 1, "prepared")
        await writer.execute("prepare transaction 'perdure_up_to'")
    try:
        mine = await append(store, "mine")
        with pytest.raises(LogHeldBackError, match="held back by a prepared transaction"):
            await store.read_all_events(up_to=mine, timeout=0)
    finally:
        await connection.execute("commit prepared 'perdure_up_to'")

    assert await _forwards(store, up_to=mine) == ["prepared", "mine"]


async def test_a_busy_log_is_not_looked_at_after_each_append() -> None:
    class Busy(InMemoryEventStore):
        looks = 0

        async def log_page(self, *_: object, up_to: int = 0, **__: object) -> Page:
            self.looks += 1
            self.changes.announce()
            raise LogHeldBackError(up_to, 0)

    store, now = Busy(), asyncio.get_running_loop().time
    began = now()
    reading = asyncio.ensure_future(store.read_all_events(up_to=1, timeout=3600))
    await until(lambda: store.looks >= 30 or reading.done())
    took = now() - began
    reading.cancel()

    assert took >= 28 * 0.002  # at most 500 looks in a second
