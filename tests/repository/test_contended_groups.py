"""Several aggregates that many change at once: with default settings, every `execute_all` takes effect."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from perdure import (
    AggregateRoot,
    DeciderRepository,
    PostgreSQLEventStore,
    Repository,
    execute_all,
)
from tests.repository.accounts import Account
from tests.repository.carts import AddItem, cart_decider


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(database_url) as store:
        yield store


async def move(store: PostgreSQLEventStore, number: int) -> None:
    """Change two accounts, each time in the other order."""
    accounts = Repository(Account, store)

    async def decide() -> list[AggregateRoot]:
        names = ["ann", "bob"][:: (-1) ** number]
        both: list[AggregateRoot] = []
        for name in names:
            account = await accounts.load_or_new(name)
            account.deposit(1)
            both.append(account)
        return both

    await execute_all(store, decide)


async def balances(store: PostgreSQLEventStore) -> list[int]:
    return [(await Repository(Account, store).get(name)).balance for name in ("ann", "bob")]


async def test_groups_of_one_process_that_share_their_aggregates_all_take_effect(store: PostgreSQLEventStore) -> None:
    answers = await asyncio.gather(*[move(store, number) for number in range(16)], return_exceptions=True)

    assert [answer for answer in answers if answer is not None] == []
    assert await balances(store) == [16, 16]


async def main(url: str) -> None:
    """Be one of two processes: say that the store is open, wait for the word to begin, and do eight moves at once."""
    async with PostgreSQLEventStore(url) as store:
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*[move(store, number) for number in range(8)])


async def test_groups_of_two_processes_that_share_their_aggregates_all_take_effect(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, database_url, stdin=pipe, stdout=pipe, stderr=pipe
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"open\n"
    ends = await asyncio.gather(*[process.communicate(b"begin\n") for process in processes])

    assert [stderr.decode()[-2000:] for _, stderr in ends if stderr] == []
    assert await balances(store) == [16, 16]


async def test_groups_of_states_of_deciders_all_take_effect(store: PostgreSQLEventStore) -> None:
    carts = DeciderRepository(cart_decider, store)

    async def fill(number: int) -> None:
        async def decide() -> list[AggregateRoot]:
            both = [await carts.load_aggregate(name) for name in ("ann", "bob")]
            for cart in both:
                cart.decide(AddItem(f"sku {number}"))
            return [*both]

        await execute_all(store, decide)

    answers = await asyncio.gather(*map(fill, range(16)), return_exceptions=True)

    assert [answer for answer in answers if answer is not None] == []
    assert [len((await carts.get(name)).items) for name in ("ann", "bob")] == [16, 16]


async def test_groups_and_single_commands_on_the_same_aggregates_all_take_effect(store: PostgreSQLEventStore) -> None:
    accounts = Repository(Account, store)

    async def deposit(number: int) -> None:
        await accounts.execute(["ann", "bob"][number % 2], lambda account: account.deposit(1))

    calls = [*[move(store, number) for number in range(16)], *[deposit(number) for number in range(32)]]
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert [answer for answer in answers if answer is not None] == []
    assert await balances(store) == [32, 32]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
