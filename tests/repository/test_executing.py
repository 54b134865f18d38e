"""Load, run and save in one go."""

import asyncio

import pytest

from perdure import (
    AppendResult,
    DomainError,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    Repository,
    RetryConfig,
)
from perdure.commit import Commit
from tests.repository.accounts import AT_ONCE, Account, Audited, Deposited, FaultyStore, amounts, connection_lost


@pytest.fixture(params=[False, True], ids=["each for itself", "queued"])
def accounts(store: FaultyStore, request: pytest.FixtureRequest) -> Repository[Account]:
    return Repository(Account, store, retry=AT_ONCE, queue_commands=request.param)


async def test_execute_loads_runs_and_saves(accounts: Repository[Account], account: Account) -> None:
    result = await accounts.execute("1", lambda account: account.deposit(5))

    assert result == AppendResult("account-1", 2, (2,))
    assert (await accounts.get("1")).balance == 5


async def test_execute_makes_the_aggregate_where_there_is_none(accounts: Repository[Account]) -> None:
    await accounts.execute("1", lambda account: account.open("ann"))

    assert (await accounts.get("1")).owner == "ann"


async def test_execute_may_raise_events_and_call_several_commands(
    accounts: Repository[Account], account: Account
) -> None:
    def action(account: Account) -> str:
        account.deposit(1)
        account.raise_event(Audited())
        account.deposit(2)
        return "ignored"

    result = await accounts.execute("1", action)

    assert result is not None
    assert result.stream_version == 4


async def test_execute_decides_again_after_a_conflict(
    store: FaultyStore, accounts: Repository[Account], account: Account, pauses: list[float]
) -> None:
    async def intrude(commit: Commit) -> None:
        await store.intrude()

    store.before += [intrude, intrude]

    def action(account: Account) -> None:
        account.raise_event(Deposited(amount=10 * account.stream_version))

    result = await accounts.execute("1", action)

    assert result == AppendResult("account-1", 4, (4,))
    assert await amounts(store) == [1, 1, 30]
    assert len({one for attempt in range(3) for one in store.ids(attempt)}) == 3
    assert (len(pauses), accounts.conflicts_retried) == (2, 2)


async def test_execute_writes_nothing_when_the_action_raises(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    def action(account: Account) -> None:
        account.deposit(1)
        account.deposit(1000)

    with pytest.raises(DomainError):
        await accounts.execute("1", action)

    assert store.attempts == []


async def test_execute_repeats_an_unknown_outcome_with_the_same_ids(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    store.after += [connection_lost, connection_lost]

    await accounts.execute("1", lambda account: account.deposit(5))

    assert store.ids(0) == store.ids(1) == store.ids(2)
    assert await amounts(store) == [5]


async def test_execute_takes_its_own_retry(store: FaultyStore, accounts: Repository[Account], account: Account) -> None:
    async def intrude(commit: Commit) -> None:
        await store.intrude()

    store.before += [intrude]
    once = RetryConfig(max_attempts=1)

    with pytest.raises(OptimisticConcurrencyError):
        await accounts.execute("1", lambda account: account.deposit(5), retry=once)

    store.before += [intrude]
    account.deposit(1)
    with pytest.raises(OptimisticConcurrencyError):
        await accounts.save_with_retry(account, retry=once)


async def test_an_asynchronous_action_is_refused(store: FaultyStore, accounts: Repository[Account]) -> None:
    async def action(account: Account) -> None:
        account.open("ann")

    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hidden(account: Account) -> object:
        return action(account)

    for refused in (action, hidden, lambda _: future):
        with pytest.raises(InvalidArgumentError, match="action is asynchronous, but it must decide in one go"):
            await accounts.execute("1", refused)

    assert store.attempts == []
