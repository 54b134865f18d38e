"""Exclusive commands that lose their lock: the events are saved all the same, and the result is true."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asyncpg.transaction import Transaction as DriverTransaction

from perdure import (
    AggregateBusyError,
    CommandIdReuseError,
    InlineProjections,
    InMemoryEventStore,
    OptimisticConcurrencyError,
    PostgreSQLEventStore,
    Repository,
    RetryConfig,
)
from perdure.commit import ANY
from tests.repository.accounts import Account, Balances, Deposited, deposit, settle
from tests.repository.counters import Counted, Counter
from tests.stores.postgres.races import end_sessions, other_connection

LONG = RetryConfig(max_seconds=600)
HOLDS_A_STREAM = "pid in (select pid from pg_locks where locktype = 'advisory' and objsubid = 2 and granted)"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(database_url, pool_size=1) as store:
        yield store


@pytest.fixture
def counters(store: PostgreSQLEventStore) -> Repository[Counter]:
    return Repository(Counter, store, retry=LONG)


async def lose_lock(url: str, *, then_count: bool = False) -> None:
    async with other_connection(url) as connection:
        assert await end_sessions(connection, HOLDS_A_STREAM) == 1
    if then_count:
        async with PostgreSQLEventStore(url) as store:
            await store.append_to_stream("counter-1", ANY, [Counted()])


async def count_twice(url: str, fingerprint: str) -> None:
    """As another process that has the same command, but decides otherwise."""

    def twice(counter: Counter) -> None:
        counter.count()
        counter.count()

    async with PostgreSQLEventStore(url) as store:
        await Repository(Counter, store).execute("1", twice, command_id="a", fingerprint=fingerprint)


def meanwhile(work: Coroutine[Any, Any, None]) -> None:
    """Do something else while an action blocks the event loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def test_what_was_decided_is_saved_if_the_lock_was_lost(
    counters: Repository[Counter], database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def act(counter: Counter) -> None:
        calls.append(counter.counted)
        meanwhile(lose_lock(database_url))
        counter.count()

    result = await counters.execute("1", act, exclusive=True)

    assert calls == [0]
    assert result is not None
    assert result.stream_version == 1
    assert "the lock of 'counter-1' was lost" in caplog.text


async def test_another_writer_after_the_lock_was_lost_is_seen_by_a_second_decision(
    counters: Repository[Counter], database_url: str
) -> None:
    calls: list[int] = []

    def act(counter: Counter) -> None:
        calls.append(counter.counted)
        if len(calls) == 1:
            meanwhile(lose_lock(database_url, then_count=True))
        counter.count()

    await counters.execute("1", act, exclusive=True)
    with pytest.raises(OptimisticConcurrencyError):
        calls.clear()
        await counters.execute("1", act, expected_version=2, exclusive=True)

    assert calls == [2]  # with the version that the caller has seen, it isn't called again
    assert (await counters.get("1")).counted == 3


@pytest.mark.parametrize("fingerprint", ["same", "other"])
async def test_the_same_command_that_was_executed_elsewhere_meanwhile_gives_the_result(
    counters: Repository[Counter], database_url: str, monkeypatch: pytest.MonkeyPatch, fingerprint: str
) -> None:
    """The commit is lost and undone. Before the events are sent again, another process executes the command."""
    calls: list[int] = []
    commit = DriverTransaction.commit

    def act(counter: Counter) -> None:
        calls.append(counter.counted)
        counter.count()

    async def cut_off(transaction: DriverTransaction) -> None:
        monkeypatch.setattr(DriverTransaction, "commit", commit)
        await transaction.rollback()
        await count_twice(database_url, fingerprint)
        raise ConnectionResetError("cut off")

    monkeypatch.setattr(DriverTransaction, "commit", cut_off)
    executing = counters.execute("1", act, command_id="a", fingerprint="same", exclusive=True)
    if fingerprint == "same":
        result = await executing
        assert result is not None
        assert (result.stream_version, result.is_repeat, len(result.global_positions)) == (2, True, 2)
    else:
        with pytest.raises(CommandIdReuseError):
            await executing

    assert calls == [0]
    assert (await counters.get("1")).counted == 2


async def test_a_time_limit_of_the_server_ends_the_wait_as_well(database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as store, store.exclusively("counter-1", 0):
        with pytest.raises(AggregateBusyError):
            async with store.transaction() as tx:
                await tx.connection.execute("set local statement_timeout = 100")
                await tx.lock_stream("counter-1", 600)


async def test_rows_of_inline_projections_are_written_under_the_lock(database_url: str) -> None:
    async with (
        PostgreSQLEventStore(database_url) as store,
        InlineProjections(store, [Balances()]) as inline,
    ):
        accounts = Repository(Account, inline, retry=LONG)
        await asyncio.gather(*[accounts.execute("1", deposit(1), exclusive=number % 2 == 0) for number in range(10)])
        assert await store.database.fetch_value("select balance from balances") == 10


async def test_commands_in_memory_wait_for_a_block_that_holds_the_stream() -> None:
    store = InMemoryEventStore()
    accounts = Repository(Account, store, retry=LONG)
    async with store.exclusively("account-1", 0):
        with pytest.raises(AggregateBusyError):
            await accounts.execute("1", deposit(1), exclusive=True, retry=RetryConfig(max_seconds=0))
        waiting = asyncio.create_task(accounts.execute("1", deposit(1), exclusive=True))
        await settle()
        assert await store.stream_version("account-1") == 0
        await store.append_to_stream("account-1", 0, [Deposited(amount=2)])

    await waiting
    assert (await accounts.get("1")).balance == 3
