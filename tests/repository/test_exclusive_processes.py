"""Exclusive commands of several processes: each is decided once, and a process that ends frees its aggregate."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from perdure import PostgreSQLEventStore, Repository, RetryConfig
from tests.patience import patience
from tests.repository.counters import Counter
from tests.repository.exclusive_processes import begin, contender, line_of, rest_of

PROCESSES = 4
COMMANDS = 5


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(database_url) as store:
        yield store


async def test_processes_that_contend_call_each_action_once(store: PostgreSQLEventStore, database_url: str) -> None:
    async with AsyncExitStack() as stack:
        processes = await asyncio.gather(
            *[
                stack.enter_async_context(contender(database_url, commands=COMMANDS, seconds=0.02))
                for _ in range(PROCESSES)
            ]
        )
        for process in processes:
            begin(process)
        # Others write to the stream without the lock: they decide again, the exclusive commands don't.
        counters = Repository(Counter, store, retry=RetryConfig(max_seconds=600))
        for _ in range(COMMANDS):
            await counters.execute("1", lambda counter: counter.count())
        said = await asyncio.gather(*map(rest_of, processes))

    versions = sorted([int(one) for words in said for one in words if one != "act"])
    assert [words.count("act") for words in said] == [COMMANDS] * PROCESSES
    assert len(set(versions)) == PROCESSES * COMMANDS
    counter = await counters.get("1")
    assert counter.counted == counter.stream_version == (PROCESSES + 1) * COMMANDS
    assert [one.stream_version for one in await store.read_stream("counter-1")] == [*range(1, counter.counted + 1)]


async def test_kill_9_of_the_holder_frees_the_aggregate(store: PostgreSQLEventStore, database_url: str) -> None:
    async with contender(database_url, seconds=600) as holder:
        begin(holder)
        assert await line_of(holder) == "act"
        counters = Repository(Counter, store, retry=RetryConfig(max_seconds=patience(60)))
        waiting = asyncio.create_task(counters.execute("1", lambda counter: counter.count(), exclusive=True))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()

        holder.send_signal(signal.SIGKILL)

        result = await waiting
        assert result is not None
        assert result.stream_version == 1


async def test_a_frozen_holder_leaves_others_busy_until_it_goes_on(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    async with contender(database_url, seconds=0.5) as holder, contender(database_url, max_seconds=0.2) as other:
        begin(holder)
        assert await line_of(holder) == "act"
        holder.send_signal(signal.SIGSTOP)
        begin(other)

        assert await rest_of(other) == ["AggregateBusyError"]  # it never acted
        assert await store.stream_version("counter-1") == 0

        holder.send_signal(signal.SIGCONT)
        assert await rest_of(holder) == ["1"]
