"""Batches in which a commit waits for a lock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from perdure.commit import (
    ANY,
    PAYLOAD_LIMIT,
    AppendResult,
    encode_commit,
)
from perdure.errors import EventIdReuseError, StoreOverloadedError
from perdure.events import NewEvent
from perdure.stores.postgres.appends.queue import QueuedAppend
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.appends.lanes import Tries, event, gathered, one_lane, others
from tests.stores.postgres.races import notes, other_connection


async def note_lock_timeouts(connection: asyncpg.Connection) -> None:
    """Let each statement that inserts note how long it would wait for a lock."""
    await connection.execute("""
        create table public.noted (lock_timeout text);
        create function public.note() returns trigger language plpgsql as $$
        begin
            insert into public.noted values (current_setting('lock_timeout'));
            return null;
        end $$;
        create trigger note before insert on perdure.events for each statement execute function public.note();
    """)


async def test_a_batch_waits_longer_for_the_servers_own_locks_than_a_commit_for_its_stream(
    database_url: str, connection: asyncpg.Connection
) -> None:
    # A slow disk is waited for by a lock, too: on the table while another session extends it.
    await note_lock_timeouts(connection)
    async with one_lane(database_url) as store:
        await gathered(*others(store, 5))
        await gathered(*others(store, 1))

    noted = [row["lock_timeout"] for row in await connection.fetch("select * from public.noted")]
    assert noted == ["500ms", "20ms"]


@asynccontextmanager
async def held_id(url: str) -> AsyncIterator[NewEvent]:
    """An event that somebody else's open transaction has appended to a stream of its own."""
    taken = event("theirs")
    async with PostgreSQLEventStore(url) as other, other.transaction() as tx:
        await other.append_to_stream("note-theirs", ANY, [taken], tx=tx)
        yield taken


async def test_an_id_in_an_open_transaction_holds_up_its_own_commit_and_no_later_batch(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_lane(database_url) as store:
        tries = Tries(store, monkeypatch)
        async with held_id(database_url) as taken:
            held = asyncio.create_task(store.append_to_stream("note-ours", ANY, [taken]))
            behind = asyncio.create_task(store.append_to_stream("note-ours", ANY, notes("behind")))
            assert all(isinstance(outcome, AppendResult) for outcome in await gathered(*others(store, 30)))
            before = len(tries)
            for _ in range(3):
                assert all(isinstance(outcome, AppendResult) for outcome in await gathered(*others(store, 30)))
            later = tries[before:]
            assert not held.done()
            assert not behind.done()

        # Each batch was sent once, for it did without the commit that is held up.
        assert [size for size, _ in later if size > 1] == [30] * 3
        with pytest.raises(EventIdReuseError):
            await held
        assert (await behind).stream_version == 1


async def test_after_a_long_wait_for_a_lock_batches_wait_briefly(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_lane(database_url) as store:
        waits: list[str] = []
        many = store._group._writer._appends.append_batch

        async def noted(*arguments: Any, lock_timeout: str, **settings: Any) -> Any:
            waits.append(lock_timeout)
            return await many(*arguments, lock_timeout=lock_timeout, **settings)

        monkeypatch.setattr(store._group._writer._appends, "append_batch", noted)
        async with held_id(database_url) as taken:
            held = asyncio.create_task(store.append_to_stream("note-ours", ANY, [taken]))
            await gathered(*others(store, 30))
            before = len(waits)
            await gathered(*others(store, 30, "later"))
        with pytest.raises(EventIdReuseError):
            await held

    assert waits[0] == "500ms"
    assert set(waits[before:]) == {"20ms"}


def test_after_a_wait_only_what_its_caller_still_waits_for_is_tried() -> None:
    commit = encode_commit("note-1", ANY, [event(1)], PAYLOAD_LIMIT)
    loop = asyncio.new_event_loop()
    pending = QueuedAppend(commit, loop.create_future(), deadline=10.0)
    loop.close()

    assert pending.is_worth_trying(waits=0, now=11.0)
    assert pending.is_worth_trying(waits=1, now=9.0)
    assert not pending.is_worth_trying(waits=1, now=11.0)
    pending.outcome.send()
    pending.outcome.lose(pending.event_ids)
    assert pending.is_worth_trying(waits=1, now=11.0)


async def test_a_log_that_is_locked_is_tried_a_few_times_and_then_waited_for(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_lane(database_url, append_timeout=0.01) as store, other_connection(database_url) as other:
        await store.append_to_stream("note-a", ANY, notes("before"))
        tries = Tries(store, monkeypatch)
        async with other.transaction():
            await other.execute("lock table perdure.events in share mode")

            outcomes = await gathered(*others(store, 256))

        assert {type(outcome) for outcome in outcomes} == {StoreOverloadedError}
        assert len(tries) <= 12
        assert all(isinstance(outcome, AppendResult) for outcome in await gathered(*others(store, 10)))
