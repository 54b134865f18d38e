"""Queued commands whose caller is cancelled, and queues whose own task is."""

import asyncio
from typing import Any

import pytest

from perdure import (
    AppendResult,
    OutcomeUnknownError,
    Repository,
)
from perdure.commit import Commit
from tests.repository.accounts import (
    Account,
    Audited,
    FaultyStore,
    Gate,
    QueueingStore,
    amounts,
    deposit,
    queues_of,
    settle,
)

Accounts = Repository[Account]


@pytest.fixture
def store() -> FaultyStore:
    return QueueingStore()


async def test_a_caller_that_is_cancelled_before_its_command_is_decided_has_written_nothing(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate = Gate()
    store.before.append(gate)
    calls: list[str] = []
    first = asyncio.create_task(accounts.execute("1", deposit(1)))
    await gate.reached.wait()
    cancelled = asyncio.create_task(accounts.execute("1", lambda account: calls.append("called")))
    other = asyncio.create_task(accounts.execute("1", deposit(2)))
    await settle()
    cancelled.cancel()
    await settle()
    assert cancelled.cancelled()
    gate.opened.set()
    await asyncio.gather(first, other)

    assert calls == []
    assert await amounts(store) == [1, 2]


async def test_a_command_that_is_cancelled_after_it_was_sent_may_be_written_and_holds_up_no_other(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate = Gate()
    store.before.append(gate)
    tasks = [asyncio.create_task(accounts.execute("1", deposit(amount))) for amount in (1, 2, 3)]
    await gate.reached.wait()
    tasks[1].cancel()
    await settle()
    assert tasks[1].cancelled()
    gate.opened.set()

    assert await tasks[0] == AppendResult("account-1", 1, (1,))
    assert await tasks[2] == AppendResult("account-1", 3, (3,))
    assert await amounts(store) == [1, 2, 3]


async def test_a_command_that_was_cancelled_isnt_decided_again(store: FaultyStore, accounts: Accounts) -> None:
    gate = Gate()

    async def overtaken(commit: Commit) -> None:
        await gate(commit)
        await store.intrude(Audited())

    store.before.append(overtaken)
    tasks = [asyncio.create_task(accounts.execute("1", deposit(amount))) for amount in (1, 2, 3)]
    await gate.reached.wait()
    tasks[1].cancel()
    await settle()
    gate.opened.set()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert await amounts(store) == [1, 3]


async def test_an_action_may_cancel_the_commands_behind_it(store: FaultyStore, accounts: Accounts) -> None:
    tasks: list[asyncio.Task[Any]] = []

    def action(account: Account) -> None:
        tasks[1].cancel()
        account.deposit(1)

    tasks += [asyncio.create_task(accounts.execute("1", one)) for one in (action, deposit(2), deposit(3))]
    await asyncio.gather(*tasks, return_exceptions=True)

    assert tasks[1].cancelled()
    assert await amounts(store) == [1, 3]


async def test_no_caller_waits_for_ever_when_the_task_of_the_queue_is_cancelled(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate = Gate()
    store.before.append(gate)
    tasks = [asyncio.create_task(accounts.execute("1", deposit(1)))]
    await gate.reached.wait()
    tasks.append(asyncio.create_task(accounts.execute("1", deposit(2))))
    await settle()
    [queue] = queues_of(store).values()
    assert queue.task is not None
    queue.task.cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [OutcomeUnknownError, asyncio.CancelledError]
    assert await accounts.execute("1", deposit(3)) == AppendResult("account-1", 1, (1,))


async def test_a_program_may_end_while_commands_are_under_way(store: FaultyStore, accounts: Accounts) -> None:
    """As `asyncio.run` does: all tasks are cancelled, in any order, and nothing is left."""
    before = asyncio.all_tasks()
    callers = [asyncio.create_task(accounts.execute(str(number % 2), deposit(1))) for number in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - before
    assert len(tasks) == len(callers) + 2
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(result) for result in results} == {asyncio.CancelledError}
    await accounts.execute("1", deposit(1))
    await settle()
    assert store.command_queues == {}


async def test_a_queue_whose_task_never_began_holds_up_no_later_command(store: FaultyStore, accounts: Accounts) -> None:
    waiting = asyncio.create_task(accounts.execute("1", deposit(1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    [queue] = queues_of(store).values()
    assert queue.task is not None
    queue.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await accounts.execute("1", deposit(1)) == AppendResult("account-1", 1, (1,))
