"""Commands to several aggregates take turns with the commands to each of them: no conflicts, no deadlocks, no leaks."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure import (
    AggregateBusyError,
    AppendResult,
    DomainError,
    OutcomeUnknownError,
    Repository,
    RetryConfig,
    WrongContextError,
    execute_all,
    save_all,
)
from perdure.commit import Commit
from perdure.repository.turn import Turn
from tests.patience import patience
from tests.repository.accounts import Account, Audited, FaultyStore, deposit, queues_of, settle, under_way

Accounts = Repository[Account]


class Group:
    """A command to several accounts, which waits in `decide`, each time after loading, while its gate is closed."""

    def __init__(self, store: FaultyStore, *names: str, then: Callable[[], Any] | None = None) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.store = store
        self.names = list(names)
        self.then = then

    async def decide(self) -> list[Account]:
        self.calls += 1
        accounts = Repository(Account, self.store)
        found = [await accounts.load_or_new(name) for name in self.names]
        for account in found:
            account.deposit(1)
        await self.gate.wait()
        if self.then is not None:
            await self.then()
        return found

    def start(self, **retry: Any) -> asyncio.Task[list[AppendResult]]:
        return asyncio.create_task(execute_all(self.store, self.decide, retry=RetryConfig(**retry)))


async def balances(store: FaultyStore, *names: str) -> list[int]:
    return [(await Repository(Account, store).load_or_new(name)).balance for name in names]


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def turn_of(store: FaultyStore, accounts: Accounts) -> tuple[Group, asyncio.Task[Any]]:
    """A group whose turn it is at account-1, after a lone caller, and which waits in `decide`."""
    gate, first = await under_way(store, accounts)
    group = Group(store, "1", "2")
    task = group.start()
    await settle()
    group.gate.clear()
    gate.opened.set()
    await first
    await settle()
    assert group.calls == 2
    return group, task


async def test_a_group_waits_for_its_turn_and_those_that_come_later_wait_for_its_end(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    group, task = await turn_of(store, accounts)
    later = [asyncio.create_task(accounts.execute("1", deposit(1))) for _ in range(3)]
    await settle()
    assert [one.done() for one in later] == [False] * 3

    group.gate.set()

    assert [(one.stream_id, one.stream_version) for one in await task] == [("account-1", 2), ("account-2", 1)]
    assert [result and result.stream_version for result in await asyncio.gather(*later)] == [3, 4, 5]
    assert (group.calls, pauses, accounts.conflicts_retried) == (2, [], 0)
    assert queues_of(store) == {}


async def test_a_group_without_company_decides_once_and_leaves_nothing(store: FaultyStore) -> None:
    group = Group(store, "1", "2")

    await group.start()

    assert (group.calls, queues_of(store)) == (1, {})


async def test_while_a_group_saves_others_wait_for_it(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a lone caller would load what it changes."""
    reached, opened = asyncio.Event(), asyncio.Event()
    append_group = store.append_group

    async def held(*args: Any) -> Any:
        reached.set()
        await opened.wait()
        return await append_group(*args)

    monkeypatch.setattr(store, "append_group", held)
    task = Group(store, "1", "2").start()
    await reached.wait()
    single = asyncio.create_task(accounts.execute("2", deposit(1)))
    await settle()
    opened.set()

    await task
    assert await single == AppendResult("account-2", 2, (3,))
    assert len(store.attempts) == 1


async def test_a_group_that_is_cancelled_during_its_turn_lets_the_others_go_on(
    store: FaultyStore, accounts: Accounts
) -> None:
    _, task = await turn_of(store, accounts)
    later = asyncio.create_task(accounts.execute("1", deposit(1)))
    await settle()

    await cancelled(task)

    assert await later == AppendResult("account-1", 2, (2,))
    assert await balances(store, "1", "2") == [2, 0]
    await settle()
    assert queues_of(store) == {}


async def test_a_group_that_is_cancelled_before_its_turn_has_no_turn(store: FaultyStore, accounts: Accounts) -> None:
    gate, first = await under_way(store, accounts)
    task = Group(store, "1", "2").start()
    await settle()
    later = asyncio.create_task(accounts.execute("1", deposit(1)))
    await settle()

    await cancelled(task)
    gate.opened.set()

    assert await first == AppendResult("account-1", 1, (1,))
    assert await later == AppendResult("account-1", 2, (2,))
    assert await balances(store, "1", "2") == [2, 0]
    await settle()
    assert queues_of(store) == {}


async def test_a_group_that_a_rule_refuses_ends_its_turn(store: FaultyStore, accounts: Accounts) -> None:
    group, task = await turn_of(store, accounts)

    async def refuse() -> None:
        raise DomainError("no")

    group.then = refuse
    later = asyncio.create_task(accounts.execute("1", deposit(1)))
    group.gate.set()

    with pytest.raises(DomainError):
        await task
    assert await later == AppendResult("account-1", 2, (2,))


async def test_a_group_whose_time_is_over_before_its_turn_gets_an_error_and_nothing_is_written(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate, first = await under_way(store, accounts)
    task = Group(store, "1", "2").start(max_seconds=0.05)
    later = asyncio.create_task(accounts.execute("1", deposit(1)))

    with pytest.raises(AggregateBusyError, match="behind others on 'account-1', and nothing was written") as caught:
        await task
    assert (caught.value.stream_id, caught.value.is_transient) == ("account-1", True)

    gate.opened.set()
    await asyncio.gather(first, later)
    assert await balances(store, "1", "2") == [2, 0]
    await settle()
    assert queues_of(store) == {}


async def test_a_group_that_may_try_once_only_doesnt_wait(store: FaultyStore, accounts: Accounts) -> None:
    gate, first = await under_way(store, accounts)
    group = Group(store, "1", "2")

    await group.start(max_seconds=0)

    assert (group.calls, await balances(store, "1", "2")) == (1, [1, 1])
    gate.opened.set()
    await first


@pytest.mark.parametrize("call", ["execute", "exclusive", "save", "save_with_retry", "save_all", "execute_all"])
@pytest.mark.parametrize("in_a_task", [False, True])
async def test_what_a_group_would_write_by_itself_is_refused(
    store: FaultyStore, accounts: Accounts, call: str, in_a_task: bool
) -> None:
    """Each attempt would write it, and it would wait for the turn of the group, and the group for it."""
    group, task = await turn_of(store, accounts)

    async def write() -> None:
        account = await accounts.load_or_new("3")
        account.deposit(1)
        if call in {"execute", "exclusive"}:
            await accounts.execute("3", deposit(1), exclusive=call == "exclusive")
        elif call in {"save", "save_with_retry"}:
            await getattr(accounts, call)(account)
        elif call == "save_all":
            await save_all(store, [account])
        else:
            await execute_all(store, Group(store, "3").decide)

    group.then = (lambda: asyncio.create_task(write())) if in_a_task else write
    group.gate.set()

    name = "execute" if call == "exclusive" else call
    with pytest.raises(WrongContextError, match=rf"^{name} was called inside the function of execute_all"):
        await task
    assert await balances(store, "1", "2", "3") == [1, 0, 0]


async def test_what_was_saved_after_a_group_is_no_part_of_it(store: FaultyStore, accounts: Accounts) -> None:
    await execute_all(store, Group(store, "1").decide)

    await accounts.execute("1", deposit(1))

    assert await balances(store, "1") == [2]


@pytest.mark.parametrize("comes", ["before the conflict", "during the pause"])
async def test_a_long_pause_of_a_group_doesnt_hold_up_a_single_command(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    monkeypatch.setattr("perdure.retry.random.uniform", lambda _, most: most)
    append_group = store.append_group
    reached, opened = asyncio.Event(), asyncio.Event()

    async def overtaken(*args: Any) -> Any:
        monkeypatch.setattr(store, "append_group", append_group)
        reached.set()
        await opened.wait()
        await store.intrude()
        return await append_group(*args)

    monkeypatch.setattr(store, "append_group", overtaken)
    task = Group(store, "1", "2").start(base_delay=3600, max_delay=3600, max_seconds=36000)
    await reached.wait()
    if comes == "during the pause":
        opened.set()
        await settle()
    single = asyncio.create_task(accounts.execute("2", deposit(1)))
    await settle()
    opened.set()

    assert await single == AppendResult("account-2", 2, (4,))
    assert [one.stream_version for one in await task] == [2, 1]


async def test_what_a_task_of_a_group_executes_after_its_turn_waits_like_any_other(
    store: FaultyStore, accounts: Accounts
) -> None:
    """A group may start a task that outlives it, which has its context."""
    group, task = await turn_of(store, accounts)
    ended = asyncio.Event()

    async def later() -> None:
        await ended.wait()
        gate, first = await under_way(store, accounts)
        second = asyncio.create_task(accounts.execute("1", deposit(1)))
        await settle()
        gate.opened.set()
        await asyncio.gather(first, second)

    tasks: list[asyncio.Task[None]] = []

    async def start() -> None:
        tasks.append(asyncio.create_task(later()))

    group.then = start
    group.gate.set()
    await task
    ended.set()
    await asyncio.gather(*tasks)

    assert accounts.conflicts_retried == 0
    assert await balances(store, "1") == [4]


async def test_a_group_that_changes_other_aggregates_when_it_decides_again_holds_these_too(
    store: FaultyStore, accounts: Accounts
) -> None:
    group, task = await turn_of(store, accounts)
    await store.intrude(Audited())

    async def change_others() -> None:
        group.then = None
        group.names = ["3", "1"]

    group.then = change_others
    reached, opened = asyncio.Event(), asyncio.Event()

    async def hold(commit: Commit) -> None:
        reached.set()
        await opened.wait()

    store.before.append(hold)
    other = asyncio.create_task(accounts.execute("3", deposit(1)))
    await reached.wait()
    group.gate.set()
    await settle()
    assert not task.done()
    opened.set()

    assert await other == AppendResult("account-3", 1, (3,))
    assert [(one.stream_id, one.stream_version) for one in await task] == [("account-3", 2), ("account-1", 3)]
    await settle()
    assert queues_of(store) == {}


async def test_a_queue_that_ends_by_an_error_lets_a_group_go_on(store: FaultyStore, accounts: Accounts) -> None:
    gate, first = await under_way(store, accounts)
    second = asyncio.create_task(accounts.execute("1", deposit(1)))
    await settle()
    again = asyncio.Event()

    async def hold(commit: Commit) -> None:
        await again.wait()

    store.before.append(hold)
    gate.opened.set()
    await first
    await settle()
    task = Group(store, "1", "2").start()
    await settle()
    [queue] = [one for one in queues_of(store).values() if any(isinstance(entry, Turn) for entry in one.waiting)]
    assert queue.task is not None
    queue.task.cancel()

    assert [one.stream_version for one in await task] == [2, 1]
    again.set()
    with pytest.raises(OutcomeUnknownError):
        await second


async def test_groups_in_any_order_and_single_commands_all_take_effect(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    names = ["1", "2", "3"]
    pairs = [(one, other) for one in names for other in names if one != other]
    groups = [Group(store, *pair) for pair in pairs * 2]
    singles = [accounts.execute(name, deposit(1)) for name in names * 5]

    async with asyncio.timeout(patience(60)):
        await asyncio.gather(*[group.start() for group in groups], *singles)

    assert await balances(store, *names) == [8 + 5] * 3
    await settle()
    assert queues_of(store) == {}
