"""Many commands on one aggregate at once, with the settings that nobody has changed: none of them fails."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import pytest

from perdure import DeciderRepository, PostgreSQLEventStore, Repository
from tests.patience import patience
from tests.repository.carts import AddItem, cart_decider
from tests.repository.counters import Counter

CALLERS = 64

PROCESS = """
import asyncio, sys

from perdure import DeciderRepository, PostgreSQLEventStore, Repository
from tests.repository.carts import AddItem, cart_decider
from tests.repository.counters import Counter

async def main(url: str, kind: str, callers: int) -> None:
    async with PostgreSQLEventStore(url) as store:
        counters, carts = Repository(Counter, store), DeciderRepository(cart_decider, store)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*[
            counters.execute("1", Counter.count) if kind == "counter" else carts.execute("1", AddItem("heat"))
            for _ in range(callers)
        ])

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(database_url) as store:
        yield store


async def run_processes(url: str, kind: str) -> None:
    """Let two processes execute half of the commands each, at the same time."""
    arguments = ["-c", PROCESS, url, kind, str(CALLERS // 2)]
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        for _ in range(2)
    ]
    try:
        async with asyncio.timeout(patience(60)):
            for process in processes:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"ready\n"
            ends = await asyncio.gather(*[process.communicate(b"\n") for process in processes])
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
    assert [process.returncode for process in processes] == [0, 0], b"\n".join(errors for _, errors in ends).decode()


async def test_no_command_on_one_aggregate_fails(store: PostgreSQLEventStore) -> None:
    counters = Repository(Counter, store)

    results = await asyncio.gather(*[counters.execute("1", Counter.count) for _ in range(CALLERS)])

    assert sorted(result.stream_version for result in results if result) == list(range(1, CALLERS + 1))
    assert (await counters.get("1")).counted == CALLERS


async def test_no_command_on_one_state_of_a_decider_fails(store: PostgreSQLEventStore) -> None:
    carts = DeciderRepository(cart_decider, store)

    results = await asyncio.gather(*[carts.execute("1", AddItem("heat")) for _ in range(CALLERS)])

    assert sorted(result.stream_version for result in results if result) == list(range(1, CALLERS + 1))
    assert (await carts.get("1")).items == {"heat": CALLERS}


async def test_no_command_of_two_processes_on_one_aggregate_fails(
    database_url: str, store: PostgreSQLEventStore
) -> None:
    await run_processes(database_url, "counter")

    assert (await Repository(Counter, store).get("1")).counted == CALLERS


async def test_no_command_of_two_processes_on_one_state_of_a_decider_fails(
    database_url: str, store: PostgreSQLEventStore
) -> None:
    await run_processes(database_url, "cart")

    assert (await DeciderRepository(cart_decider, store).get("1")).items == {"heat": CALLERS}
