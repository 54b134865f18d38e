"""The same repository on PostgreSQL, where the caller may have a transaction of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from perdure import AppendResult, OptimisticConcurrencyError, PostgreSQLEventStore, Repository, RetryConfig
from tests.repository.accounts import Account


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(database_url) as store:
        yield store


@pytest.fixture
def accounts(store: PostgreSQLEventStore) -> Repository[Account]:
    return Repository(Account, store, retry=RetryConfig(max_attempts=20, base_delay=0.001))


async def test_writers_who_race_all_take_effect(accounts: Repository[Account]) -> None:
    await accounts.execute("1", lambda account: account.open("ann"))

    await asyncio.gather(*(accounts.execute("1", lambda account: account.deposit(1)) for _ in range(10)))

    account = await accounts.get("1")
    assert (account.balance, account.stream_version) == (10, 11)


async def test_a_conflict_is_decided_again(accounts: Repository[Account]) -> None:
    mine, theirs = Account("1"), Account("1")
    mine.deposit(1)
    theirs.deposit(2)
    await accounts.save(theirs)

    with pytest.raises(OptimisticConcurrencyError):
        await accounts.save(mine)
    await accounts.save_with_retry(mine)

    assert (mine.balance, mine.stream_version) == (3, 2)


async def test_a_committed_transaction_marks_the_aggregate(
    store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    account = Account("1")
    account.open("ann")
    async with store.transaction() as tx:
        first = await accounts.save(account, tx=tx)
        account.deposit(1)
        second = await accounts.save(account, tx=tx)
        assert account.committed_version == 0

    assert isinstance(first, AppendResult)
    assert isinstance(second, AppendResult)
    assert (first.stream_version, second.stream_version) == (1, 2)
    assert account.committed_version == account.stream_version == 2
    assert (await accounts.get("1")).balance == 1


async def test_a_rolled_back_transaction_leaves_the_events_to_be_saved(
    store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    account = Account("1")
    account.open("ann")
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as tx:
            await accounts.save(account, tx=tx)
            raise ZeroDivisionError

    assert await accounts.load("1") is None
    account.deposit(1)
    await accounts.save(account)
    assert (await accounts.get("1")).balance == 1
    assert not account.uncommitted_events


async def test_what_a_savepoint_took_back_is_written_by_the_next_save(
    store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    account = Account("1")
    account.open("ann")
    async with store.transaction() as tx:
        with pytest.raises(ZeroDivisionError):
            async with tx.connection.transaction():
                await accounts.save(account, tx=tx)
                raise ZeroDivisionError
        await accounts.save(account, tx=tx)

    assert (await accounts.get("1")).owner == "ann"
