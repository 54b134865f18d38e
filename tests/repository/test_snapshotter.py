"""Snapshots: taken after commits when they are due, used when they fit, and never at the price of a commit."""

import asyncio
import copy
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from perdure import (
    DomainError,
    Repository,
    execute_all,
    save_all,
)
from perdure.copies import own_copy
from perdure.repository import snapshotter as snapshot_writing
from perdure.repository.state_codec import StateCodec
from perdure.snapshot import Snapshot
from tests.repository.accounts import Account, Audited, Deposited, FaultyStore, QueueingStore
from tests.repository.snapshotted import Accounts, accounts, deposit, replayed, version_of
from tests.repository.test_transactions import CountingTransaction

__all__ = ["accounts", "replayed"]  # fixtures, which are imported to be found


# --- When -------------------------------------------------------------------------------------------------------------


async def test_a_snapshot_is_taken_each_time_that_so_many_events_came(store: FaultyStore, accounts: Accounts) -> None:
    versions = []
    for _ in range(8):
        await deposit(accounts)
        versions.append(await version_of(store))

    assert versions == [None, None, 3, 3, 3, 6, 6, 6]


async def test_a_commit_that_jumps_over_the_mark_takes_one(store: FaultyStore, accounts: Accounts) -> None:
    account = Account("1")
    for _ in range(10):
        account.deposit(1)
    await accounts.save(account)
    account.deposit(1)
    await accounts.save(account)

    assert await version_of(store) == 10
    assert account.snapshot_version == 10


async def test_loading_replays_what_came_after_it(accounts: Accounts, replayed: list[int]) -> None:
    await deposit(accounts, 5)
    replayed.clear()

    account = await accounts.get("1")

    assert replayed == [4, 5]
    assert (account.stream_version, account.committed_version, account.snapshot_version) == (5, 5, 3)
    assert (account.balance, account.notes) == (5, ["x"] * 5)


async def test_execute_all_takes_those_that_are_due(store: FaultyStore, accounts: Accounts) -> None:
    plain = Repository(Account, store)

    async def deposit_to_both() -> list[Account]:
        both = [await accounts.load_or_new("1"), await plain.load_or_new("2")]
        for account in both:
            account.deposit(1)
        return both

    versions = []
    for _ in range(7):
        await execute_all(store, deposit_to_both)
        versions.append((await version_of(store), await version_of(store, "account-2")))

    assert versions == [(None, None), (None, None), (3, None), (3, None), (3, None), (6, None), (6, None)]


async def test_save_all_takes_those_of_aggregates_that_a_repository_loaded(
    store: FaultyStore, accounts: Accounts
) -> None:
    made, loaded = Account("1"), await accounts.load_or_new("2")
    for account in (made, loaded):
        for _ in range(4):
            account.deposit(1)

    await save_all(store, [made, loaded])

    assert (await version_of(store), await version_of(store, "account-2")) == (None, 4)


async def test_an_aggregate_that_was_saved_with_retry_keeps_its_snapshots(
    store: FaultyStore, accounts: Accounts
) -> None:
    account = await accounts.load_or_new("1")
    account.deposit(1)
    await store.intrude()
    await accounts.save_with_retry(account)
    account.deposit(1)

    await save_all(store, [account])

    assert await version_of(store) == account.committed_version == 3


@pytest.mark.parametrize("copied", [copy.deepcopy, own_copy, lambda account: pickle.loads(pickle.dumps(account))])
async def test_an_aggregate_can_be_copied_without_its_repository(
    accounts: Accounts, copied: Callable[[Account], Account]
) -> None:
    await deposit(accounts, 2)
    account = await accounts.get("1")

    twin = copied(account)

    assert (twin.balance, twin.stream_version) == (2, 2)
    assert twin.uncommitted.snapshots in {account.uncommitted.snapshots, None}


async def test_without_the_setting_there_are_none(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unexpected(*arguments: object) -> Any:
        raise AssertionError("snapshots are off")

    monkeypatch.setattr(store, "read_snapshot", unexpected)
    monkeypatch.setattr(store, "write_snapshot", unexpected)

    await deposit(Repository(Account, store), 20)


async def test_where_they_are_switched_on_late_the_next_commit_takes_one(store: FaultyStore) -> None:
    await deposit(Repository(Account, store), 10)
    accounts = Repository(Account, store, snapshot_every=3)
    await accounts.get("1")
    assert await version_of(store) is None  # loading writes nothing

    await deposit(accounts)

    assert await version_of(store) == 11


async def test_one_that_is_recent_is_not_replaced_because_a_repository_without_snapshots_has_loaded_the_state() -> None:
    store = QueueingStore()
    without, every_third = Repository(Account, store), Repository(Account, store, snapshot_every=3)
    versions = []
    for _ in range(4):
        await asyncio.gather(*[one.execute("1", lambda account: account.deposit(1)) for one in (without, every_third)])
        versions.append(await version_of(store))

    assert versions == [None, 4, 4, 8]


async def test_saving_with_retry_takes_one_of_what_was_saved(store: FaultyStore, accounts: Accounts) -> None:
    account = await accounts.load_or_new("1")
    account.deposit(1)
    account.deposit(2)
    await store.intrude(Deposited(amount=10))

    await accounts.save_with_retry(account)

    assert (await version_of(store), account.snapshot_version) == (3, 3)
    assert (await accounts.get("1")).balance == 13


async def test_saving_nothing_takes_none(store: FaultyStore, accounts: Accounts) -> None:
    await store.intrude(*[Audited()] * 5)

    await accounts.execute("1", lambda account: None)

    assert await version_of(store) is None


async def test_in_a_callers_transaction_none_is_taken_but_by_the_next_commit(
    store: FaultyStore, accounts: Accounts
) -> None:
    account = Account("1")
    for _ in range(3):
        account.deposit(1)
    tx = CountingTransaction()
    await accounts.save(account, tx=tx)
    tx.commit()
    assert await version_of(store) is None

    await deposit(accounts)

    assert await version_of(store) == 4


async def test_a_decision_on_a_snapshot_meets_conflicts_as_ever(store: FaultyStore, accounts: Accounts) -> None:
    await deposit(accounts, 3)

    async def intrude(commit: object) -> None:
        await store.intrude(Deposited(amount=90))

    store.before.append(intrude)
    with pytest.raises(DomainError, match="too much"):
        await accounts.execute("1", lambda account: account.deposit(10))

    assert accounts.conflicts_retried == 1


async def test_a_snapshot_that_another_process_wrote_meanwhile_is_not_written_again(
    store: FaultyStore, accounts: Accounts
) -> None:
    written: list[Snapshot] = []
    write_snapshot = store.write_snapshot

    async def watched(snapshot: Snapshot) -> None:
        written.append(snapshot)
        await write_snapshot(snapshot)

    async def somebody_else(commit: object) -> None:
        last = (await store.read_stream("account-1"))[-1]
        codec = StateCodec(Account)
        state = codec.encode(await Repository(Account, store).get("1"))
        await write_snapshot(Snapshot("account-1", 3, last.event_id, codec.version, codec.shape, state))

    await deposit(accounts, 2)
    store.after.append(somebody_else)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write_snapshot", watched)
        await deposit(accounts)

    assert written == []
    assert (await accounts.get("1")).snapshot_version == 3


# --- Best effort ------------------------------------------------------------------------------------------------------


async def fail(snapshot: Snapshot) -> None:
    raise ZeroDivisionError


async def hang(snapshot: Snapshot) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("fault", [fail, hang])
async def test_a_failure_is_logged_and_not_tried_again_at_once(
    store: FaultyStore,
    accounts: Accounts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[Snapshot], Any],
) -> None:
    calls: list[int] = []

    async def watched(snapshot: Snapshot) -> None:
        calls.append(snapshot.stream_version)
        await fault(snapshot)

    now = 1000.0
    monkeypatch.setattr(snapshot_writing, "monotonic", lambda: now)
    monkeypatch.setattr(snapshot_writing, "PATIENCE", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_snapshot", watched)
        await deposit(accounts, 6)
        assert calls == [3]
        [record] = caplog.records
        assert (record.name, record.levelno) == ("perdure.repository", logging.WARNING)
        assert "no snapshot of 'account-1' was written, and none will be for 30 s" in record.getMessage()

        now += 31
        await deposit(accounts)
        assert calls == [3, 7]
    now += 31
    await deposit(accounts)

    assert await version_of(store) == 8
    assert (await accounts.get("1")).balance == 8


async def test_cancelled_while_a_snapshot_is_taken_the_events_are_saved(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def hang(snapshot: Snapshot) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "write_snapshot", hang)
    account = Account("1")
    for _ in range(3):
        account.deposit(1)
    task = asyncio.create_task(accounts.save_with_retry(account))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not account.uncommitted_events
    assert await accounts.save(account) is None
    assert await store.stream_version("account-1") == 3


async def test_no_task_is_left_behind(accounts: Accounts) -> None:
    await deposit(accounts, 7)
    await accounts.load("1", at_version=2)

    assert asyncio.all_tasks() == {asyncio.current_task()}
