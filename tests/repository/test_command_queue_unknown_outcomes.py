"""Queued commands whose commit was sent, and of which it isn't known whether it is written."""

import asyncio

import pytest

from perdure import (
    AppendResult,
    DomainError,
    OutcomeUnknownError,
    Repository,
)
from perdure.commit import Commit
from tests.repository.accounts import (
    ONCE,
    Account,
    Deposited,
    Fault,
    FaultyStore,
    QueueingStore,
    amounts,
    broken,
    closed,
    connection_lost,
    deposit,
    outcomes,
    overloaded,
    unavailable,
)

Accounts = Repository[Account]


@pytest.fixture
def store() -> FaultyStore:
    return QueueingStore()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_unknown_outcome_is_repeated_with_the_same_ids_before_anything_else(
    store: FaultyStore, accounts: Accounts, when: str
) -> None:
    calls: list[int] = []

    def action(account: Account) -> None:
        calls.append(account.stream_version)
        account.deposit(1)

    getattr(store, when).extend([connection_lost, connection_lost])
    results = await outcomes(*[accounts.execute("1", action) for _ in range(3)])

    assert store.ids(0) == store.ids(1) == store.ids(2)
    assert calls == [0, 1, 2]
    assert await amounts(store) == [1, 1, 1]
    assert [result.stream_version for result in results] == [1, 2, 3]


async def test_after_an_unknown_outcome_the_state_is_loaded_again(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = accounts._loader.load
    loads: list[str] = []

    async def counted(aggregate_id: str) -> Account:
        loads.append(aggregate_id)
        return await load(aggregate_id)

    monkeypatch.setattr(accounts._loader, "load", counted)
    store.before += [None, connection_lost]

    async def caller() -> None:
        for _ in range(3):
            await accounts.execute("1", deposit(1))

    await caller()

    assert loads == ["1", "1"]


async def test_an_unknown_outcome_that_proves_to_be_a_conflict_is_decided_again_with_new_ids(
    store: FaultyStore, accounts: Accounts
) -> None:
    async def lost_and_overtaken(commit: Commit) -> None:
        await store.intrude(Deposited(amount=7))
        await connection_lost(commit)

    store.before.append(lost_and_overtaken)
    await outcomes(*[accounts.execute("1", deposit(amount)) for amount in (1, 2)])

    assert store.ids(0) == store.ids(1)
    assert not {*store.ids(1)} & {*store.ids(2)}
    assert await amounts(store) == [7, 1, 2]


async def test_a_command_that_is_out_of_attempts_reports_its_own_ids_and_the_others_go_on(
    store: FaultyStore, accounts: Accounts
) -> None:
    store.after += [connection_lost]
    results = await outcomes(accounts.execute("1", deposit(1)), accounts.execute("1", deposit(2), retry=ONCE))

    assert isinstance(results[1], OutcomeUnknownError)
    assert list(results[1].event_ids) == store.ids(0)[1:]
    assert isinstance(results[1].__cause__, OutcomeUnknownError)
    assert results[0] == AppendResult("account-1", 1, (1,))
    assert await amounts(store) == [1, 2]


async def test_when_all_are_out_of_attempts_the_next_ones_start_from_what_is_stored(
    store: FaultyStore, accounts: Accounts
) -> None:
    store.after += [connection_lost]
    told = asyncio.gather(
        *[accounts.execute("1", deposit(amount), retry=ONCE) for amount in (1, 2)],
        accounts.execute("1", deposit(1000)),
        return_exceptions=True,
    )
    results = await told

    assert [type(result) for result in results] == [OutcomeUnknownError, OutcomeUnknownError, DomainError]
    assert await accounts.execute("1", deposit(3)) == AppendResult("account-1", 3, (3,))
    assert await amounts(store) == [1, 2, 3]


@pytest.mark.parametrize("fault", [unavailable, overloaded, closed, broken])
async def test_an_unknown_outcome_isnt_forgotten_when_a_repeat_fails_otherwise(
    store: FaultyStore, accounts: Accounts, fault: Fault
) -> None:
    store.after += [connection_lost]
    store.before += [None, fault, fault]
    results = await outcomes(*[accounts.execute("1", deposit(amount)) for amount in (1, 2)])

    assert [type(result) for result in results] == [OutcomeUnknownError] * 2
    assert store.ids(0) == store.ids(1) == store.ids(2)
    assert await amounts(store) == [1, 2]
