"""Conflicts are decided again; appends of unknown outcome are repeated with the same ids."""

import asyncio

import pytest

from perdure import (
    AggregateBusyError,
    AggregateRoot,
    AppendResult,
    DomainError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    Repository,
    RetryConfig,
    StoreClosedError,
    StoreOverloadedError,
    StoreUnavailableError,
    command,
    context,
)
from perdure.commit import Commit
from tests.repository.accounts import (
    AT_ONCE,
    Account,
    Audited,
    Deposited,
    Fault,
    FaultyStore,
    Opened,
    amounts,
    broken,
    closed,
    connection_lost,
    deposit,
    described,
    overloaded,
    refused,
    unavailable,
)


async def test_after_a_conflict_the_commands_are_decided_again(
    store: FaultyStore, accounts: Repository[Account], account: Account, pauses: list[float]
) -> None:
    account.deposit(5, note="mine")
    account.fill()
    await store.intrude(Deposited(amount=7, note="theirs"))

    result = await accounts.save_with_retry(account)

    assert result == AppendResult("account-1", 4, (3, 4))
    assert await amounts(store) == [7, 5, 88]
    assert (account.balance, account.notes, account.stream_version) == (100, ["theirs", "mine"], 4)
    assert (account.uncommitted_events, account.uncommitted.commands) == ((), [])
    assert accounts.conflicts_retried == 1
    assert len(pauses) == 1


async def test_a_decision_made_again_draws_new_event_ids(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    account.deposit(5)
    await store.intrude()
    await accounts.save_with_retry(account)

    assert set(store.ids(0)).isdisjoint(store.ids(1))


async def test_a_decision_made_again_belongs_to_the_same_request(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    with context(user_id="ann", correlation_id="request"):
        account.deposit(5)
    await store.intrude()
    await accounts.save_with_retry(account)
    metadata = (await store.read_stream("account-1"))[-1].metadata

    assert (metadata.user_id, metadata.correlation_id) == ("ann", "request")


async def test_what_a_command_does_to_its_arguments_doesnt_reach_the_next_attempt(store: FaultyStore) -> None:
    class Greedy(AggregateRoot, category="account"):
        @command
        def take(self, amounts: list[int]) -> None:
            while amounts:
                self.raise_event(Deposited(amount=amounts.pop(0)))

    async def intrude(commit: Commit) -> None:
        await store.intrude()

    all_greedy = Repository(Greedy, store, retry=AT_ONCE)
    greedy = await all_greedy.load_or_new("1")
    greedy.take([10, 20])
    store.before += [intrude, intrude]
    await all_greedy.save_with_retry(greedy)

    assert await amounts(store) == [1, 1, 10, 20]


async def test_a_rule_that_fails_on_the_fresh_state_raises_its_own_error(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    account.deposit(60)
    before = described(account)
    await store.intrude(Deposited(amount=60))

    with pytest.raises(DomainError, match="too much for an account"):
        await accounts.save_with_retry(account)

    assert described(account) == before
    assert await amounts(store) == [60]


async def test_a_new_aggregate_that_was_loaded_as_such_is_decided_again_if_another_writer_makes_it_first(
    store: FaultyStore, accounts: Repository[Account]
) -> None:
    account = await accounts.load_or_new("1")
    account.open("bob")
    await store.intrude(Opened(owner="ann"))

    with pytest.raises(DomainError, match="open already"):
        await accounts.save_with_retry(account)


async def test_after_the_last_attempt_its_conflict_is_raised_without_a_pause(
    store: FaultyStore, accounts: Repository[Account], account: Account, pauses: list[float]
) -> None:
    async def intrude(commit: Commit) -> None:
        await store.intrude()

    store.before += [intrude] * 3
    account.deposit(5)
    before = described(account)

    with pytest.raises(OptimisticConcurrencyError) as caught:
        await accounts.save_with_retry(account)

    assert (caught.value.expected_version, caught.value.actual_version) == (3, 4)
    assert described(account) == before
    assert len(store.attempts) == 3
    assert len(pauses) == 2
    assert accounts.conflicts_retried == 2


async def test_events_that_no_command_raised_are_not_decided_again(
    store: FaultyStore, accounts: Repository[Account], account: Account, pauses: list[float]
) -> None:
    account.deposit(5)
    account.raise_event(Audited())
    await store.intrude()

    with pytest.raises(OptimisticConcurrencyError):
        await accounts.save_with_retry(account)

    assert len(account.uncommitted_events) == 2
    assert pauses == []


@pytest.mark.parametrize("written", [True, False])
async def test_an_unknown_outcome_is_repeated_with_the_same_ids(
    store: FaultyStore, accounts: Repository[Account], account: Account, written: bool, pauses: list[float]
) -> None:
    (store.after if written else store.before).append(connection_lost)
    account.deposit(5)
    account.raise_event(Audited())

    result = await accounts.save_with_retry(account)

    assert result == AppendResult("account-1", 3, (2, 3))
    assert store.ids(0) == store.ids(1)
    assert await amounts(store) == [5]
    assert (len(pauses), accounts.conflicts_retried) == (1, 0)


async def test_an_unknown_outcome_that_turns_out_a_conflict_is_decided_again(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    async def lost_and_overtaken(commit: Commit) -> None:
        await store.intrude()
        await connection_lost(commit)

    store.before.append(lost_and_overtaken)
    account.deposit(5)
    await accounts.save_with_retry(account)

    assert await amounts(store) == [1, 5]
    assert store.ids(0) == store.ids(1) != store.ids(2)


async def test_an_outcome_that_stays_unknown_is_raised_and_saving_again_is_safe(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    store.after += [connection_lost] * 3
    account.deposit(5)

    with pytest.raises(OutcomeUnknownError) as caught:
        await accounts.save_with_retry(account)
    assert caught.value.event_ids == tuple(store.ids(0))
    await accounts.save_with_retry(account)

    assert await amounts(store) == [5]


async def test_a_second_decision_whose_outcome_is_unknown_is_what_saving_again_repeats(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    store.after += [connection_lost] * 2
    await store.intrude()
    account.deposit(5)

    with pytest.raises(OutcomeUnknownError):
        await accounts.save_with_retry(account)
    assert (account.balance, len(account.uncommitted_events)) == (6, 1)
    await accounts.save_with_retry(account)

    assert store.ids(0) != store.ids(1) == store.ids(-1)
    assert await amounts(store) == [1, 5]


async def test_a_second_decision_that_is_cancelled_is_what_saving_again_repeats(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    reached = asyncio.Event()

    async def hang(commit: Commit) -> None:
        reached.set()
        await asyncio.Event().wait()

    store.after.append(hang)
    await store.intrude()
    account.deposit(5)
    task = asyncio.create_task(accounts.save_with_retry(account))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await accounts.save(account)

    assert await amounts(store) == [1, 5]


@pytest.mark.parametrize("fault", [unavailable, overloaded, closed])
async def test_a_store_that_wrote_nothing_for_sure_is_not_tried_again(
    store: FaultyStore, accounts: Repository[Account], account: Account, fault: Fault, pauses: list[float]
) -> None:
    store.before.append(fault)
    account.deposit(5)

    with pytest.raises((StoreUnavailableError, StoreOverloadedError, StoreClosedError)):
        await accounts.save_with_retry(account)

    assert pauses == []
    assert account.uncommitted.pending == []


@pytest.mark.parametrize("fault", [unavailable, overloaded, closed, refused, broken])
async def test_an_unknown_outcome_outlives_attempts_that_wrote_nothing(
    store: FaultyStore, accounts: Repository[Account], account: Account, fault: Fault
) -> None:
    store.after.append(connection_lost)
    store.before += [None, fault, fault]
    account.deposit(5)

    with pytest.raises(OutcomeUnknownError) as caught:
        await accounts.save_with_retry(account)

    assert caught.value.__cause__ is not None
    await accounts.save(account)
    assert await amounts(store) == [5]


@pytest.mark.parametrize("fault", [unavailable, refused, broken])
async def test_an_unknown_outcome_of_a_command_outlives_attempts_that_wrote_nothing(
    store: FaultyStore, accounts: Repository[Account], account: Account, fault: Fault
) -> None:
    # Regression: the caller got the refusal alone, as if nothing had been written.
    store.after.append(connection_lost)
    store.before += [None, fault, fault]

    with pytest.raises(OutcomeUnknownError) as caught:
        await accounts.execute("1", deposit(5))

    assert list(caught.value.event_ids) == store.ids(0)
    assert await amounts(store) == [5]


async def test_an_unknown_outcome_is_settled_once_the_store_is_back(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    store.after.append(connection_lost)
    store.before += [None, unavailable]
    account.deposit(5)

    assert await accounts.save_with_retry(account) == AppendResult("account-1", 2, (2,))
    assert await amounts(store) == [5]


async def test_other_errors_are_raised_at_once(
    store: FaultyStore, accounts: Repository[Account], account: Account, pauses: list[float]
) -> None:
    store.before.append(broken)
    account.deposit(5)

    with pytest.raises(ZeroDivisionError):
        await accounts.save_with_retry(account)

    assert pauses == []


async def test_an_aggregate_that_is_being_saved_with_retry_cant_be_changed(
    store: FaultyStore, accounts: Repository[Account], account: Account
) -> None:
    async def meanwhile(commit: Commit) -> None:
        with pytest.raises(AggregateBusyError):
            account.deposit(1)
        with pytest.raises(AggregateBusyError):
            await accounts.save_with_retry(account)

    store.before += [meanwhile, meanwhile]
    await store.intrude()
    account.deposit(5)
    await accounts.save_with_retry(account)
    account.deposit(1)

    assert (account.balance, store.before) == (7, [])


async def test_many_writers_all_take_effect(store: FaultyStore, account: Account) -> None:
    accounts = Repository(
        Account, store, retry=RetryConfig(max_attempts=50, max_seconds=600, base_delay=0), queue_commands=False
    )

    async def yield_once(commit: Commit) -> None:
        await asyncio.sleep(0)

    store.before += [yield_once] * 1000

    await asyncio.gather(*(accounts.execute("1", lambda account: account.deposit(1)) for _ in range(30)))

    assert (await accounts.get("1")).balance == 30
    assert accounts.conflicts_retried > 0
