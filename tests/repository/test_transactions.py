"""Saving as a part of the caller's own transaction."""

import pytest

from perdure import (
    AppendResult,
    OptimisticConcurrencyError,
    Repository,
)
from perdure.transaction import Transaction
from tests.repository.accounts import Account, FaultyStore, amounts


class CountingTransaction(Transaction):
    """Commits when the test says so."""

    def commit(self) -> None:
        self._confirm()


async def test_in_a_transaction_events_count_as_committed_once_that_is(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    tx = CountingTransaction()
    account.deposit(1)
    result = await accounts.save(account, tx=tx)

    assert result == AppendResult("account-1", 2, (2,))
    assert store.transactions == [tx]
    assert len(account.uncommitted_events) == 1
    tx.commit()
    assert not account.uncommitted_events


async def test_one_aggregate_can_be_saved_twice_in_a_transaction(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    tx = CountingTransaction()
    account.deposit(1)
    await accounts.save(account, tx=tx)
    account.deposit(2)
    await accounts.save(account, tx=tx)
    tx.commit()

    assert await amounts(store) == [1, 2]
    assert (account.stream_version, account.uncommitted_events) == (3, ())


async def test_after_a_rollback_the_events_are_there_to_be_saved(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    account.deposit(1)
    await accounts.save(account, tx=CountingTransaction())
    _undo_last_append(store)
    account.deposit(2)

    await accounts.save(account)

    assert await amounts(store) == [1, 2]


async def test_a_conflict_within_a_transaction_doesnt_forget_what_it_holds(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    tx = CountingTransaction()
    account.deposit(1)
    await accounts.save(account, tx=tx)
    account.deposit(2)
    await store.intrude()

    with pytest.raises(OptimisticConcurrencyError):
        await accounts.save(account, tx=tx)

    assert [one.version for one in account.uncommitted.pending] == [2]


def _undo_last_append(store: FaultyStore) -> None:
    for one in store.attempts[-1].events:
        store._log.pop()
        store._streams["account-1"].pop()
        del store._by_id[one.event_id]
