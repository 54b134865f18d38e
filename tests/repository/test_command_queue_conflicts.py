"""Queued commands of which another writer was faster."""

import asyncio
from collections.abc import Callable

import pytest

from perdure import (
    AppendResult,
    DomainError,
    OptimisticConcurrencyError,
    Repository,
    RetryConfig,
)
from perdure.commit import Commit
from tests.repository.accounts import (
    ONCE,
    Account,
    Audited,
    Deposited,
    FaultyStore,
    Gate,
    Opened,
    QueueingStore,
    amounts,
    connection_lost,
    deposit,
    outcomes,
    settle,
)

Accounts = Repository[Account]


@pytest.fixture
def store() -> FaultyStore:
    return QueueingStore()


async def test_after_a_conflict_all_decide_again_in_order_on_a_fresh_state_with_new_ids(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    async def intrude(commit: Commit) -> None:
        await store.intrude(Deposited(amount=50))

    store.before.append(intrude)
    seen: list[tuple[str, int]] = []

    def action(name: str, amount: int) -> Callable[[Account], None]:
        def act(account: Account) -> None:
            seen.append((name, account.balance))
            account.deposit(amount)

        return act

    results = await outcomes(*[accounts.execute("1", action(*one)) for one in [("a", 30), ("b", 30), ("c", 5)]])

    assert seen == [("a", 0), ("b", 30), ("c", 60), ("a", 50), ("b", 80), ("c", 80)]
    assert [type(result) for result in results] == [AppendResult, DomainError, AppendResult]
    assert await amounts(store) == [50, 30, 5]
    assert not {*store.ids(0)} & {*store.ids(1)}
    assert (len(pauses), accounts.conflicts_retried) == (1, 3)


async def test_commands_that_decide_again_come_before_those_that_were_queued_meanwhile(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    gate = Gate()

    async def overtaken(commit: Commit) -> None:
        await gate(commit)
        await store.intrude(Audited())

    store.before.append(overtaken)
    first = [asyncio.create_task(accounts.execute("1", deposit(amount))) for amount in (1, 2)]
    await gate.reached.wait()
    later = asyncio.create_task(accounts.execute("1", deposit(3)))
    await settle()
    gate.opened.set()
    await asyncio.gather(*first, later)

    assert await amounts(store) == [1, 2, 3]


async def test_each_is_tried_as_often_as_its_own_caller_wants(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    async def intrude(commit: Commit) -> None:
        await store.intrude(Deposited(amount=1))

    store.before += [intrude] * 2
    results = await outcomes(
        accounts.execute("1", deposit(2), retry=ONCE),
        accounts.execute("1", deposit(3)),
        accounts.execute("1", deposit(4), retry=RetryConfig(max_attempts=2, base_delay=0)),
    )

    assert [type(result) for result in results] == [
        OptimisticConcurrencyError,
        AppendResult,
        OptimisticConcurrencyError,
    ]
    assert [(results[n].expected_version, results[n].actual_version) for n in (0, 2)] == [(0, 1), (1, 2)]
    assert await amounts(store) == [1, 1, 3]


async def test_the_shortest_pause_that_one_of_them_asks_for_is_made(
    store: FaultyStore, accounts: Accounts, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda least, most: most)

    async def intrude(commit: Commit) -> None:
        await store.intrude(Deposited(amount=1))

    store.before += [intrude, connection_lost]
    await outcomes(
        *[
            accounts.execute("1", deposit(1), retry=RetryConfig(base_delay=seconds, max_delay=seconds))
            for seconds in (3, 2, 4)
        ]
    )

    assert pauses == [2, 2]


async def test_a_broken_rule_is_judged_again_when_its_commit_fails(store: FaultyStore, accounts: Accounts) -> None:
    async def intrude(commit: Commit) -> None:
        await store.intrude(Opened(owner="eve"))

    def close(account: Account) -> None:
        if account.owner != "eve":
            raise DomainError("not eve's")
        account.raise_event(Audited())

    store.before.append(intrude)
    results = await outcomes(accounts.execute("1", deposit(1)), accounts.execute("1", close, retry=ONCE))

    assert [type(result) for result in results] == [AppendResult, AppendResult]


async def test_what_others_wrote_before_the_call_counts_also_for_commands_that_raise_no_events(
    store: FaultyStore, accounts: Accounts
) -> None:
    """The state in memory may be older than the call: no answer may come from it alone."""
    gate = Gate()
    store.after.append(gate)
    first = asyncio.create_task(accounts.execute("1", deposit(1)))
    await gate.reached.wait()
    await store.intrude(Opened(owner="ann"))
    owners: list[str | None] = []

    def open_again(account: Account) -> None:
        account.open("eve")

    waiting = [
        asyncio.create_task(accounts.execute("1", lambda account: owners.append(account.owner))),
        asyncio.create_task(accounts.execute("1", open_again)),
    ]
    await settle()
    gate.opened.set()

    await first
    assert await waiting[0] is None
    with pytest.raises(DomainError):
        await waiting[1]
    assert owners[-1] == "ann"


async def test_an_answer_that_needs_no_commit_waits_for_none(store: FaultyStore, accounts: Accounts) -> None:
    gate = Gate()
    store.before.append(gate)
    broken_rule = asyncio.create_task(accounts.execute("1", deposit(1000)))
    nothing = asyncio.create_task(accounts.execute("1", lambda _: None))
    writing = asyncio.create_task(accounts.execute("1", deposit(1)))
    behind = asyncio.create_task(accounts.execute("1", deposit(1000)))
    await gate.reached.wait()
    await settle()

    assert (broken_rule.done(), nothing.done(), writing.done(), behind.done()) == (True, True, False, False)
    gate.opened.set()
    assert [
        type(one) for one in await asyncio.gather(broken_rule, nothing, writing, behind, return_exceptions=True)
    ] == [
        DomainError,
        type(None),
        AppendResult,
        DomainError,
    ]


async def test_an_action_that_tampers_with_the_version_conflicts_with_itself_alone(
    store: FaultyStore, accounts: Accounts
) -> None:
    def pretend(account: Account) -> None:
        account.apply_event(Deposited(amount=50))
        account.deposit(1)

    results = await outcomes(
        accounts.execute("1", deposit(1)), accounts.execute("1", pretend), accounts.execute("1", deposit(2))
    )

    assert [type(result) for result in results] == [AppendResult, OptimisticConcurrencyError, AppendResult]
    assert await amounts(store) == [1, 2]
