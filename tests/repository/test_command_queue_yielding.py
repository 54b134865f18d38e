"""Queued commands leave the event loop to others now and then, however many there are and however slow."""

import asyncio
from collections.abc import Callable

import pytest

from perdure import AppendResult, DomainError, Repository
from perdure.repository import pace as pace_module
from tests.repository.accounts import Account, FaultyStore, QueueingStore, amounts, sizes

Accounts = Repository[Account]

COMMAND = 1 / 256
"""Seconds that a command takes here; sums of it are exact."""


class Clock:
    """A clock that only commands move on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def slow(self, amount: int = 1) -> Callable[[Account], None]:
        def act(account: Account) -> None:
            self.now += COMMAND
            account.deposit(amount)

        return act


class Bystander:
    """A task that wants to run all the time, and notes how long it had to wait for it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.waits: list[float] = []

    async def run(self) -> None:
        while True:
            before = self.clock.now
            await asyncio.sleep(0)
            self.waits.append(self.clock.now - before)


@pytest.fixture
def store() -> FaultyStore:
    return QueueingStore()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_module, "perf_counter", clock)
    return clock


async def longest_wait(clock: Clock, accounts: Accounts, commands: int) -> float:
    """How long others have to wait while so many commands are decided."""
    bystander = Bystander(clock)
    task = asyncio.create_task(bystander.run())
    await asyncio.gather(*[accounts.execute("1", clock.slow()) for _ in range(commands)])
    task.cancel()
    return max(bystander.waits)


async def test_others_run_after_20_ms_of_deciding(clock: Clock, accounts: Accounts) -> None:
    assert 0.02 <= await longest_wait(clock, accounts, 100) < 0.02 + COMMAND


async def test_a_commit_holds_what_is_decided_in_100_ms_and_the_next_one_goes_on(
    store: FaultyStore, clock: Clock, accounts: Accounts
) -> None:
    results = await asyncio.gather(*[accounts.execute("1", clock.slow()) for _ in range(50)])

    assert sizes(store) == [26, 24]
    assert [result.stream_version for result in results if result] == list(range(1, 51))


async def test_a_command_that_takes_longer_than_that_has_a_commit_all_the_same(
    store: FaultyStore, clock: Clock, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace_module, "DECIDING_PER_COMMIT", COMMAND / 2)

    await asyncio.gather(*[accounts.execute("1", clock.slow()) for _ in range(3)])

    assert sizes(store) == [1, 1, 1]


async def test_commands_that_decide_on_nothing_are_answered_though_they_take_long(
    store: FaultyStore, clock: Clock, accounts: Accounts
) -> None:
    def look(account: Account) -> None:
        clock.now += COMMAND

    def refuse(account: Account) -> None:
        look(account)
        raise DomainError("no")

    actions = [look, refuse] * 30
    results = await asyncio.gather(*[accounts.execute("1", one) for one in actions], return_exceptions=True)

    assert [type(result) for result in results] == [type(None), DomainError] * 30
    assert store.attempts == []


async def test_a_command_whose_caller_stops_waiting_while_others_have_the_event_loop_decides_nothing(
    store: FaultyStore, clock: Clock, accounts: Accounts
) -> None:
    def cancel_last(account: Account) -> None:
        asyncio.get_running_loop().call_soon(tasks[-1].cancel)  # at the first moment in which others run
        clock.slow(1)(account)

    actions = [cancel_last, *[clock.slow(amount) for amount in range(2, 9)]]
    tasks = [asyncio.create_task(accounts.execute("1", action)) for action in actions]
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(result) for result in results] == [AppendResult] * 7 + [asyncio.CancelledError]
    assert await amounts(store) == list(range(1, 8))
