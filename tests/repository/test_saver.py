"""Events appended once, whatever happens to the answer."""

import asyncio
from typing import Any

import pytest

from perdure import (
    AppendResult,
    EventEncodingError,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    Repository,
    context,
)
from perdure.commit import Commit
from tests.repository.accounts import Account, FaultyStore, OtherAccount, amounts, connection_lost, described


async def test_saving_returns_the_version_and_the_positions_of_the_events(
    accounts: Repository[Account], account: Account
) -> None:
    account.deposit(1)
    account.deposit(2)

    assert await accounts.save(account) == AppendResult("account-1", 3, (2, 3))
    assert (account.stream_version, account.uncommitted_events) == (3, ())


async def test_saving_nothing_returns_none(store: FaultyStore, accounts: Repository[Account], account: Account) -> None:
    account.deposit(100)
    await accounts.save(account)
    account.fill()

    assert await accounts.save(account) is None
    assert await accounts.save_with_retry(account) is None
    assert await accounts.execute("1", lambda account: account.fill()) is None
    assert account.uncommitted.commands == []
    assert len(store.attempts) == 1


async def test_one_instance_can_be_saved_again_and_again(accounts: Repository[Account], account: Account) -> None:
    for _ in range(3):
        account.deposit(1)
        await accounts.save(account)

    assert (await accounts.get("1")).balance == 3


async def test_ids_and_context_of_the_events_are_stored(store: FaultyStore, accounts: Repository[Account]) -> None:
    account = Account("1")
    with context(user_id="ann", causation_id="click"):
        account.open("ann")
    await accounts.save(account)
    read = (await store.read_stream("account-1"))[0]

    assert (read.metadata.user_id, read.metadata.causation_id) == ("ann", "click")


async def test_a_conflict_is_raised_and_leaves_the_aggregate_as_it_was(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    account.deposit(1)
    before = described(account)
    await store.intrude()

    with pytest.raises(OptimisticConcurrencyError) as caught:
        await accounts.save(account)

    assert (caught.value.stream_id, caught.value.expected_version, caught.value.actual_version) == ("account-1", 1, 2)
    assert described(account) == before
    assert accounts.conflicts_retried == 0


async def test_of_two_new_aggregates_one_wins(accounts: Repository[Account]) -> None:
    first, second = await accounts.load_or_new("1"), await accounts.load_or_new("1")
    first.open("ann")
    second.open("bob")
    await accounts.save(first)

    with pytest.raises(OptimisticConcurrencyError, match="is at version 1, but 0 was expected"):
        await accounts.save(second)


async def test_an_aggregate_of_another_class_is_refused(accounts: Repository[Account]) -> None:
    with pytest.raises(InvalidArgumentError, match="is a OtherAccount; this repository is for Account"):
        await accounts.save(OtherAccount("1"))


async def test_a_value_that_cant_be_encoded_is_refused_when_it_is_raised_and_the_rest_is_written(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    account.deposit(1)
    with pytest.raises(EventEncodingError, match="NUL"):
        account.deposit(1, "nul\x00")

    await accounts.save(account)

    assert await amounts(store) == [1]


@pytest.mark.parametrize("written", [True, False])
async def test_after_an_unknown_outcome_saving_again_writes_once(
    store: FaultyStore, accounts: Repository[Account], account: Account, written: bool
) -> None:
    (store.after if written else store.before).append(connection_lost)
    account.deposit(1)

    with pytest.raises(OutcomeUnknownError):
        await accounts.save(account)
    assert len(account.uncommitted_events) == 1
    result = await accounts.save(account)

    assert result == AppendResult("account-1", 2, (2,))
    assert store.ids(0) == store.ids(1)
    assert await amounts(store) == [1]
    assert not account.uncommitted_events


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("save_again", [Repository.save, Repository.save_with_retry])
async def test_more_commands_after_an_unknown_outcome_are_saved_beside_it(
    store: FaultyStore, accounts: Repository[Account], account: Account, written: bool, save_again: Any
) -> None:
    (store.after if written else store.before).append(connection_lost)
    account.deposit(1)
    with pytest.raises(OutcomeUnknownError):
        await accounts.save(account)
    account.deposit(2)

    result = await save_again(accounts, account)

    assert result == AppendResult("account-1", 3, (2, 3))
    assert await amounts(store) == [1, 2]
    assert not account.uncommitted_events


async def test_an_unknown_append_that_meets_a_conflict_is_known_not_to_be_written(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    store.before.append(connection_lost)
    account.deposit(1)
    with pytest.raises(OutcomeUnknownError):
        await accounts.save(account)
    await store.intrude()
    account.deposit(2)

    await accounts.save_with_retry(account)

    assert len(store.attempts[-1].events) == 2
    assert await amounts(store) == [1, 1, 2]


@pytest.mark.parametrize("fault", [asyncio.CancelledError, ZeroDivisionError])
async def test_an_error_that_doesnt_say_that_nothing_was_written_leaves_the_outcome_unknown(
    store: FaultyStore, accounts: Repository[Account], account: Account, fault: type[BaseException]
) -> None:
    async def fail(commit: Commit) -> None:
        raise fault

    store.after.append(fail)
    account.deposit(1)
    with pytest.raises(fault):
        await accounts.save(account)
    account.deposit(2)
    await accounts.save(account)

    assert await amounts(store) == [1, 2]


async def test_a_cancelled_save_leaves_the_events_to_be_saved_again(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    reached = asyncio.Event()

    async def hang(commit: Commit) -> None:
        reached.set()
        await asyncio.Event().wait()

    store.after.append(hang)
    account.deposit(1)
    task = asyncio.create_task(accounts.save(account))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(account.uncommitted_events) == 1
    assert await accounts.save(account) == AppendResult("account-1", 2, (2,))
    assert await amounts(store) == [1]


async def test_events_raised_while_others_are_being_saved_are_saved_next(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    async def meanwhile(commit: Commit) -> None:
        account.deposit(2)

    store.before.append(meanwhile)
    account.deposit(1)
    first = await accounts.save(account)

    assert first is not None
    assert first.stream_version == 2
    assert (account.stream_version, account.committed_version) == (3, 2)
    assert [one.args for one in account.uncommitted.commands] == [(2,)]
    assert await accounts.save(account) == AppendResult("account-1", 3, (3,))


async def test_saving_one_instance_twice_at_the_same_moment_writes_once(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    async def yield_once(commit: Commit) -> None:
        await asyncio.sleep(0)

    store.before += [yield_once, yield_once]
    account.deposit(1)

    first, second = await asyncio.gather(accounts.save(account), accounts.save(account))

    assert first == second
    assert await amounts(store) == [1]


async def test_an_unknown_outcome_of_events_that_the_same_instance_saved_meanwhile_leaves_nothing_pending(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    async def saved_meanwhile(commit: Commit) -> None:
        await accounts.save(account)
        await connection_lost(commit)

    store.before.append(saved_meanwhile)
    account.deposit(1)
    with pytest.raises(OutcomeUnknownError):
        await accounts.save(account)
    account.deposit(2)

    assert await accounts.save(account) == AppendResult("account-1", 3, (3,))
    assert await amounts(store) == [1, 2]
