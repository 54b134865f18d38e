"""The same repository on PostgreSQL, where the caller may have a transaction of its own."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from perdure import AppendResult, OptimisticConcurrencyError, PostgreSQLEventStore, Repository, RetryConfig, save_all
from perdure.commit import CommitGroup
from perdure.transaction import Transaction
from tests.repository.accounts import Account


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(database_url) as store:
        yield store


@pytest.fixture
def accounts(store: PostgreSQLEventStore) -> Repository[Account]:
    return Repository(Account, store, retry=RetryConfig(max_attempts=20, max_seconds=600, base_delay=0.001))


async def test_writers_who_race_all_take_effect(accounts: Repository[Account]) -> None:
    await accounts.execute("1", lambda account: account.open("ann"))

    await asyncio.gather(*(accounts.execute("1", lambda account: account.deposit(1)) for _ in range(10)))

    account = await accounts.get("1")
    assert (account.balance, account.stream_version) == (10, 11)


async def test_a_conflict_is_decided_again(accounts: Repository[Account]) -> None:
    mine, theirs = await accounts.load_or_new("1"), await accounts.load_or_new("1")
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


async def test_what_a_savepoint_took_back_is_uncommitted_after_the_commit_too(
    store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    account = Account("1")
    account.open("ann")
    async with store.transaction() as tx:
        with pytest.raises(ZeroDivisionError):
            async with tx.connection.transaction():
                await accounts.save(account, tx=tx)
                raise ZeroDivisionError

    assert (account.committed_version, len(account.uncommitted_events)) == (0, 1)
    account.deposit(1)
    await accounts.save(account)
    assert (await accounts.get("1")).balance == 1


async def test_what_a_savepoint_took_back_of_several_saves_is_uncommitted_and_the_rest_is_not(
    store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    ann, bob = Account("ann"), Account("bob")
    ann.open("ann")
    bob.open("bob")
    async with store.transaction() as tx:
        await save_all(store, [ann, bob], tx=tx)
        ann.deposit(1)
        bob.deposit(2)
        with pytest.raises(ZeroDivisionError):
            async with tx.connection.transaction():
                await save_all(store, [ann, bob], tx=tx)
                raise ZeroDivisionError
        await accounts.save(bob, tx=tx)

    assert [(one.committed_version, len(one.uncommitted_events)) for one in (ann, bob)] == [(1, 1), (2, 0)]
    await save_all(store, [ann, bob])
    assert [(await accounts.get(name)).balance for name in ("ann", "bob")] == [1, 2]


async def test_after_a_rollback_several_aggregates_are_saved_by_one_append(
    store: PostgreSQLEventStore, accounts: Repository[Account], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = Account("ann"), Account("bob")
    ann.open("ann")
    bob.open("bob")
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as tx:
            await save_all(store, [ann, bob], tx=tx)
            raise ZeroDivisionError
    groups: list[list[str]] = []
    append_group = PostgreSQLEventStore.append_group

    async def note(self: PostgreSQLEventStore, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        groups.append([commit.stream_id for commit in group.commits])
        return await append_group(self, group, tx)

    monkeypatch.setattr(PostgreSQLEventStore, "append_group", note)
    async with store.transaction() as tx:
        await save_all(store, [ann, bob], tx=tx)

    assert groups == [["account-ann", "account-bob"]]
    assert (await accounts.get("bob")).owner == "bob"


async def test_cached_states_of_two_processes_are_what_the_events_make(
    database_url: str, store: PostgreSQLEventStore, accounts: Repository[Account]
) -> None:
    retry = RetryConfig(max_attempts=20, max_seconds=600, base_delay=0.001)
    async with PostgreSQLEventStore(database_url) as other:
        cached = [Repository(Account, one, retry=retry, cache_size=1) for one in (store, other)]
        for number in range(5):
            repositories = [accounts, *cached] * 2
            await asyncio.gather(*(one.execute("1", lambda account: account.deposit(1, "x")) for one in repositories))
            for one in (accounts, *cached):
                account = await one.get("1")
                total = 6 * (number + 1)
                assert (account.balance, account.stream_version, account.notes) == (total, total, ["x"] * total)


async def test_a_cached_state_of_a_log_that_was_restored_is_dropped(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    """The backup had less, and other events were appended since: the versions fit, the events don't."""
    cached = Repository(Account, store, cache_size=1)
    for _ in range(3):
        await cached.execute("1", lambda account: account.deposit(1))
    assert (await cached.get("1")).balance == 3
    await connection.execute("alter table perdure.events disable trigger all; delete from perdure.events")
    await connection.execute("alter table perdure.events enable trigger all")
    for _ in range(4):
        await Repository(Account, store).execute("1", lambda account: account.deposit(10))

    assert (await cached.get("1")).balance == 40
