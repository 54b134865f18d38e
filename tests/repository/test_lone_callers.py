"""A lone caller of `execute`, whose command isn't queued, and those who come while it is under way."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from decimal import ROUND_DOWN, getcontext

import pytest

from perdure import (
    AggregateBusyError,
    AppendResult,
    DeciderRepository,
    DomainError,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    Repository,
    RetryConfig,
    StoreUnavailableError,
)
from perdure.commit import Commit
from tests.repository.accounts import (
    AT_ONCE,
    Account,
    Deposited,
    Fault,
    FaultyStore,
    Gate,
    OtherAccount,
    amounts,
    broken,
    connection_lost,
    deposit,
    outcomes,
    queues_of,
    settle,
    sizes,
    unavailable,
    under_way,
)
from tests.repository.carts import AddItem, cart_decider

Accounts = Repository[Account]

seen: ContextVar[int] = ContextVar("seen", default=0)


# --- The direct path --------------------------------------------------------------------------------------------------


async def test_a_lone_caller_has_no_task_no_copy_and_its_own_context(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Account] = []
    given: list[Account] = []
    tasks: list[int] = []
    load = accounts._loader.load

    async def noted(aggregate_id: str) -> Account:
        loaded.append(await load(aggregate_id))
        return loaded[-1]

    def action(account: Account) -> None:
        given.append(account)
        tasks.append(len(asyncio.all_tasks()))
        seen.set(seen.get() + 1)
        getcontext().rounding = ROUND_DOWN
        account.deposit(1)

    monkeypatch.setattr(accounts._loader, "load", noted)
    await accounts.execute("1", action)

    assert given == loaded
    assert given[0] is loaded[0]
    assert tasks == [len(asyncio.all_tasks())]
    assert (seen.get(), getcontext().rounding) == (1, ROUND_DOWN)
    assert store.command_queues == {}


async def test_a_lone_caller_that_meets_a_conflict_stays_on_its_own_path(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    async def intrude(commit: Commit) -> None:
        await store.intrude()

    def action(account: Account) -> None:
        seen.set(seen.get() + 1)
        account.deposit(5)

    store.before += [intrude, intrude]
    seen.set(0)
    await accounts.execute("1", action)

    assert seen.get() == 3
    assert (accounts.conflicts_retried, len(pauses)) == (2, 2)
    assert await amounts(store) == [1, 1, 5]
    assert store.command_queues == {}


@pytest.mark.parametrize("is_committed", [True, False])
async def test_those_who_come_meanwhile_wait_and_are_served_together(
    store: FaultyStore, accounts: Accounts, is_committed: bool
) -> None:
    gate = Gate()
    (store.after if is_committed else store.before).append(gate)
    first = asyncio.create_task(accounts.execute("1", deposit(1)))
    await gate.reached.wait()
    others = [asyncio.create_task(accounts.execute("1", deposit(amount))) for amount in (2, 3)]
    await settle()
    assert not any(task.done() for task in others)
    gate.opened.set()

    assert await asyncio.gather(first, *others) == [AppendResult("account-1", n, (n,)) for n in (1, 2, 3)]
    assert sizes(store) == [1, 2]
    assert accounts.conflicts_retried == 0


async def test_many_that_come_at_once_take_two_commits(store: FaultyStore, accounts: Accounts) -> None:
    gate = Gate()
    store.before.append(gate)
    tasks = [asyncio.create_task(accounts.execute("1", deposit(1))) for _ in range(20)]
    await gate.reached.wait()
    gate.opened.set()
    await asyncio.gather(*tasks)

    assert sizes(store) == [1, 19]


@pytest.mark.parametrize(
    ("fault", "error"), [(unavailable, StoreUnavailableError), (broken, ZeroDivisionError), (None, DomainError)]
)
async def test_when_the_lone_caller_fails_the_others_are_served(
    store: FaultyStore,
    accounts: Accounts,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault | None,
    error: type[Exception],
) -> None:
    gate = Gate()
    load = accounts._loader.load

    async def held(aggregate_id: str) -> Account:
        monkeypatch.undo()
        await gate(Commit("account-1", 0, (), 0))
        return await load(aggregate_id)

    monkeypatch.setattr(accounts._loader, "load", held)
    store.before.append(fault)
    first = asyncio.create_task(accounts.execute("1", deposit(1 if fault else 1000)))
    await gate.reached.wait()
    others = [asyncio.create_task(accounts.execute("1", deposit(amount))) for amount in (2, 3)]
    await settle()
    gate.opened.set()

    assert [type(one) for one in await asyncio.gather(first, *others, return_exceptions=True)] == [
        error,
        AppendResult,
        AppendResult,
    ]
    assert await amounts(store) == [2, 3]


@pytest.mark.parametrize("is_written", [True, False])
async def test_when_the_lone_caller_is_cancelled_the_others_are_served(
    store: FaultyStore, accounts: Accounts, is_written: bool
) -> None:
    gate = Gate()
    (store.after if is_written else store.before).append(gate)
    first = asyncio.create_task(accounts.execute("1", deposit(1)))
    await gate.reached.wait()
    other = asyncio.create_task(accounts.execute("1", deposit(2)))
    await settle()
    first.cancel()

    assert isinstance(await other, AppendResult)
    assert first.cancelled()
    assert await amounts(store) == ([1, 2] if is_written else [2])
    await settle()
    assert store.command_queues == {}


async def test_while_the_outcome_of_the_lone_caller_is_unknown_nobody_decides(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    gate, first = await under_way(store, accounts)
    store.after += [connection_lost, connection_lost]
    other = asyncio.create_task(accounts.execute("1", deposit(2)))
    await settle()
    gate.opened.set()
    await asyncio.gather(first, other)

    assert store.ids(0) == store.ids(1) == store.ids(2)
    assert sizes(store) == [1, 1, 1, 1]
    assert await amounts(store) == [1, 2]


async def test_an_outcome_that_stays_unknown_doesnt_hold_up_the_others(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    gate, first = await under_way(store, accounts)
    store.after += [connection_lost] * 3
    other = asyncio.create_task(accounts.execute("1", deposit(2)))
    await settle()
    gate.opened.set()

    with pytest.raises(OutcomeUnknownError):
        await first
    assert await other == AppendResult("account-1", 2, (2,))


async def test_a_lone_caller_that_meets_a_conflict_while_others_wait_decides_first_among_them(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    gate = Gate()
    order: list[tuple[str, int]] = []

    async def overtaken(commit: Commit) -> None:
        await gate(commit)
        await store.intrude(Deposited(amount=10))

    def action(name: str, amount: int) -> Callable[[Account], None]:
        def act(account: Account) -> None:
            order.append((name, account.balance))
            account.deposit(amount)

        return act

    store.before.append(overtaken)
    first = asyncio.create_task(accounts.execute("1", action("first", 1)))
    await gate.reached.wait()
    others = [asyncio.create_task(accounts.execute("1", action(name, 2))) for name in ("a", "b")]
    await settle()
    gate.opened.set()
    await asyncio.gather(first, *others)

    assert order == [("first", 0), ("first", 10), ("a", 11), ("b", 13)]
    assert sizes(store) == [1, 3]
    assert (accounts.conflicts_retried, len(pauses)) == (1, 1)
    assert await first == AppendResult("account-1", 2, (2,))


async def test_a_command_id_is_looked_up_again_when_its_lone_caller_joins_the_others(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    gate = Gate()
    elsewhere = Repository(Account, store, retry=AT_ONCE, queue_commands=False)

    async def overtaken(commit: Commit) -> None:
        await gate(commit)
        await elsewhere.execute("1", deposit(7))
        await elsewhere.execute("1", deposit(1), command_id="a")

    store.before.append(overtaken)
    first = asyncio.create_task(accounts.execute("1", deposit(1), command_id="a"))
    await gate.reached.wait()
    other = asyncio.create_task(accounts.execute("1", deposit(2)))
    await settle()
    gate.opened.set()

    assert await first == AppendResult("account-1", 2, (2,))
    assert await other == AppendResult("account-1", 3, (3,))
    assert await amounts(store) == [7, 1, 2]


# --- What is shared ---------------------------------------------------------------------------------------------------


async def test_repositories_of_one_class_and_store_share_their_queues_whatever_their_settings(
    store: FaultyStore, pauses: list[float]
) -> None:
    one = Repository(Account, store, retry=AT_ONCE)
    two = Repository(Account, store, retry=RetryConfig(max_attempts=1), snapshot_every=2)

    async def intrude(commit: Commit) -> None:
        await store.intrude()

    gate, first = await under_way(store, one)
    waiting = [
        asyncio.create_task(repository.execute("1", deposit(amount)))
        for repository, amount in ((one, 2), (two, 3), (one, 4), (two, 5))
    ]
    await settle()
    store.before.append(intrude)
    gate.opened.set()
    results = await asyncio.gather(first, *waiting, return_exceptions=True)

    assert [type(result) for result in results] == [
        AppendResult,
        AppendResult,
        OptimisticConcurrencyError,
        AppendResult,
        OptimisticConcurrencyError,
    ]
    assert (one.conflicts_retried, two.conflicts_retried) == (2, 0)
    assert sizes(store) == [1, 4, 2]
    assert await store.read_snapshot("account-1") is None, "no repository that takes snapshots has committed"

    gate, first = await under_way(store, one)
    waiting = [asyncio.create_task(repository.execute("1", deposit(1))) for repository in (one, two)]
    await settle()
    gate.opened.set()
    await asyncio.gather(first, *waiting)
    snapshot = await store.read_snapshot("account-1")
    assert snapshot is not None
    assert snapshot.stream_version == 7


async def test_other_classes_other_stores_and_repositories_without_queues_share_none(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate, first = await under_way(store, accounts)

    await Repository(OtherAccount, store).execute("1", lambda account: account.deposit(2))
    await Repository(Account, store, queue_commands=False).execute("1", deposit(3))
    assert await Repository(Account, FaultyStore()).execute("1", deposit(4)) == AppendResult("account-1", 1, (1,))
    assert len(queues_of(store)) == 1
    gate.opened.set()
    await first

    assert await amounts(store) == [2, 3, 1]


async def test_deciders_of_one_store_share_their_queues(store: FaultyStore) -> None:
    gate = Gate()
    store.before.append(gate)
    first = asyncio.create_task(DeciderRepository(cart_decider, store).execute("1", AddItem("a")))
    await gate.reached.wait()
    others = [asyncio.create_task(DeciderRepository(cart_decider, store).execute("1", AddItem("a"))) for _ in range(3)]
    await settle()
    gate.opened.set()
    await asyncio.gather(first, *others)

    assert sizes(store) == [1, 3]


# --- Time and place ---------------------------------------------------------------------------------------------------


async def test_who_waits_behind_a_lone_caller_gives_up_when_the_time_is_over(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate, first = await under_way(store, accounts)

    with pytest.raises(AggregateBusyError) as busy:
        await accounts.execute("1", deposit(2), retry=RetryConfig(max_seconds=0))
    assert busy.value.seconds is not None
    assert busy.value.is_transient
    gate.opened.set()
    await first

    assert await amounts(store) == [1]
    assert store.command_queues == {}


async def test_a_program_may_end_while_a_lone_caller_is_under_way(store: FaultyStore, accounts: Accounts) -> None:
    """As `asyncio.run` does: all tasks are cancelled, and no task begins."""
    _, first = await under_way(store, accounts)
    others = [asyncio.create_task(accounts.execute("1", deposit(2))) for _ in range(3)]
    await settle()
    before = asyncio.all_tasks()
    for task in (first, *others):
        task.cancel()
    results = await asyncio.gather(first, *others, return_exceptions=True)

    assert {type(result) for result in results} == {asyncio.CancelledError}
    assert asyncio.all_tasks() <= before
    assert store.command_queues == {}


def test_an_event_loop_that_ends_with_a_lone_caller_leaves_no_queue(store: FaultyStore, accounts: Accounts) -> None:
    loop = asyncio.new_event_loop()
    call = accounts.execute("1", deposit(1))

    async def begin() -> None:
        store.before.append(Gate())
        call.send(None)
        assert len(queues_of(store)) == 1

    loop.run_until_complete(begin())
    loop.close()
    call.close()

    assert store.command_queues == {}


async def test_what_is_refused_before_it_begins_leaves_no_queue(store: FaultyStore, accounts: Accounts) -> None:
    async def later(account: Account) -> None: ...

    [refused] = await outcomes(accounts.execute("1", later))

    assert isinstance(refused, InvalidArgumentError)
    assert store.command_queues == {}
