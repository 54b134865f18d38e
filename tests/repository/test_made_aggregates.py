"""Aggregates that were made, not loaded, although their stream exists."""

import pickle

import pytest

from perdure import (
    AggregateExistsError,
    AppendResult,
    InMemoryEventStore,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PostgreSQLEventStore,
    Repository,
    execute_all,
    save_all,
)
from perdure.errors import ConflictError
from tests.repository.accounts import Account, FaultyStore, amounts, connection_lost, deposit

Accounts = Repository[Account]

TOLD = "there is a stream 'account-1' already; you made a new Account: use execute, or load_or_new, which load it first"


def made() -> Account:
    account = Account("1")
    account.deposit(5)
    return account


async def test_saving_one_says_so(store: FaultyStore, accounts: Accounts) -> None:
    await store.intrude()

    with pytest.raises(AggregateExistsError) as told:
        await accounts.save(made())

    assert str(told.value) == TOLD
    assert isinstance(told.value, OptimisticConcurrencyError)
    assert isinstance(told.value, ConflictError)
    assert (told.value.stream_id, told.value.actual_version, told.value.class_name) == ("account-1", 1, "Account")
    assert str(pickle.loads(pickle.dumps(told.value))) == TOLD


async def test_saving_one_with_retry_says_so_at_once(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    await store.intrude()

    with pytest.raises(AggregateExistsError):
        await accounts.save_with_retry(made())

    assert (len(store.attempts), pauses, accounts.conflicts_retried) == (1, [], 0)


async def test_saving_several_names_the_one_that_was_made(pauses: list[float]) -> None:
    calls: list[str] = []

    async with InMemoryEventStore() as store:
        accounts = Repository(Account, store)
        await accounts.execute("1", deposit(1))

        async def decide() -> list[Account]:
            calls.append("called")
            other = Account("2")
            other.deposit(1)
            return [other, made()]

        with pytest.raises(AggregateExistsError, match="there is a stream 'account-1' already"):
            await save_all(store, await decide())
        with pytest.raises(AggregateExistsError, match="there is a stream 'account-1' already"):
            await execute_all(store, decide)

    assert (len(calls), pauses) == (2, [])


async def test_one_without_events_that_the_others_were_decided_by_says_so_at_once(pauses: list[float]) -> None:
    calls: list[str] = []

    async with InMemoryEventStore() as store:
        await Repository(Account, store).execute("1", deposit(1))

        async def decide() -> list[Account]:
            calls.append("called")
            other = Account("2")
            other.deposit(1)
            return [other, Account("1")]

        with pytest.raises(AggregateExistsError) as told:
            await execute_all(store, decide)

        assert str(told.value) == TOLD
        assert (calls, pauses) == (["called"], [])
        assert await store.stream_version("account-2") == 0


async def test_one_that_was_loaded_as_new_is_decided_again(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    account = await accounts.load_or_new("1")
    account.deposit(5)
    await store.intrude()

    await accounts.save_with_retry(account)

    assert await amounts(store) == [1, 5]
    assert (account.balance, len(pauses)) == (6, 1)


async def test_load_or_new_loads_one_that_exists(store: FaultyStore, accounts: Accounts) -> None:
    await store.intrude()

    account = await accounts.load_or_new("1")

    assert (account.balance, account.stream_version) == (1, 1)


async def test_executing_on_one_that_another_writer_makes_first_is_decided_again(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    store.before.append(lambda _: store.intrude())

    assert await accounts.execute("1", deposit(5)) == AppendResult("account-1", 2, (2,))


async def test_one_that_was_saved_since_meets_a_conflict_like_any_other(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    account = made()
    await accounts.save(account)
    await store.intrude()
    account.deposit(2)

    await accounts.save_with_retry(account)

    assert await amounts(store) == [5, 1, 2]


async def test_one_whose_answer_was_lost_is_found_when_it_is_saved_again(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    store.after.append(connection_lost)
    account = made()
    with pytest.raises(OutcomeUnknownError):
        await accounts.save(account)

    assert await accounts.save(account) == AppendResult("account-1", 1, (1,))


async def test_one_in_a_transaction_says_so(database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as store:
        accounts = Repository(Account, store)
        await accounts.execute("1", deposit(1))

        async with store.transaction() as tx:
            with pytest.raises(AggregateExistsError, match="you made a new Account"):
                await accounts.save(made(), tx=tx)
