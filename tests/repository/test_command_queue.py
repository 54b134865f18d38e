"""Queued commands on one aggregate: what they share, and how long they wait."""

import asyncio
import gc
import re
import weakref
from typing import Any

import pytest

from perdure import (
    AggregateBusyError,
    AppendResult,
    DeciderRepository,
    DomainError,
    Repository,
    RetryConfig,
)
from perdure.repository import command_queue as queue_module
from tests.repository.accounts import (
    Account,
    FaultyStore,
    Gate,
    Opened,
    QueueingStore,
    amounts,
    deposit,
    settle,
    sizes,
    under_way,
)
from tests.repository.carts import AddItem, cart_decider

Accounts = Repository[Account]


@pytest.fixture
def store() -> FaultyStore:
    return QueueingStore()


# --- What is shared ---------------------------------------------------------------------------------------------------


async def test_commands_that_come_together_share_a_commit_and_each_has_its_own_result(
    store: FaultyStore, accounts: Accounts, account: Account
) -> None:
    def twice(account: Account) -> None:
        account.deposit(2)
        account.deposit(3)

    results = await asyncio.gather(*[accounts.execute("1", action) for action in (deposit(1), twice, deposit(4))])

    assert sizes(store) == [4]
    assert results == [
        AppendResult("account-1", 2, (2,)),
        AppendResult("account-1", 4, (3, 4)),
        AppendResult("account-1", 5, (5,)),
    ]


async def test_commands_that_come_while_a_commit_is_under_way_share_the_next_one(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate, first = await under_way(store, accounts)
    others = [asyncio.create_task(accounts.execute("1", deposit(amount))) for amount in (2, 3, 4)]
    await settle()
    assert sizes(store) == [1]
    gate.opened.set()
    await asyncio.gather(first, *others)

    assert sizes(store) == [1, 3]
    assert await amounts(store) == [1, 2, 3, 4]


async def test_a_caller_that_was_answered_may_come_again_at_once_and_nothing_is_loaded_again(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    stream_page = store.reader.stream_page

    async def counted(stream_id: str, *where: Any) -> Any:
        pages.append(stream_id)
        return await stream_page(stream_id, *where)

    monkeypatch.setattr(store.reader, "stream_page", counted)

    async def task() -> None:
        for _ in range(5):
            await accounts.execute("1", deposit(1))

    await asyncio.gather(*[task() for _ in range(4)])

    assert sizes(store) == [4] * 5
    assert pages == ["account-1"]


async def test_each_is_answered_only_after_the_commit_that_holds_its_events(
    store: FaultyStore, accounts: Accounts
) -> None:
    written, answered = Gate(), Gate()
    store.before.append(written)
    store.after.append(answered)
    tasks = [asyncio.create_task(accounts.execute("1", deposit(amount))) for amount in (1, 2)]
    await written.reached.wait()
    await settle()
    assert not any(task.done() for task in tasks)
    written.opened.set()
    await answered.reached.wait()
    await settle()
    assert not any(task.done() for task in tasks)
    answered.opened.set()

    assert await asyncio.gather(*tasks) == [
        AppendResult("account-1", 1, (1,)),
        AppendResult("account-1", 2, (2,)),
    ]


async def test_a_rule_sees_what_those_before_it_decided(store: FaultyStore, accounts: Accounts) -> None:
    results = await asyncio.gather(
        *[accounts.execute("1", deposit(amount)) for amount in (60, 60, 40)], return_exceptions=True
    )

    assert isinstance(results[1], DomainError)
    assert results[2] == AppendResult("account-1", 2, (2,))
    assert await amounts(store) == [60, 40]


async def test_other_aggregates_have_queues_of_their_own(store: FaultyStore, accounts: Accounts) -> None:
    gate, first = await under_way(store, accounts)

    await accounts.execute("2", deposit(2))
    gate.opened.set()
    await first

    assert [commit.stream_id for commit in store.attempts] == ["account-1", "account-2"]


async def test_a_commit_takes_as_many_commands_and_bytes_as_it_may(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "BATCH_COMMANDS", 3)
    await asyncio.gather(*[accounts.execute("1", deposit(1)) for _ in range(7)])
    assert sizes(store) == [3, 3, 1]

    monkeypatch.setattr(queue_module, "BATCH_BYTES", 2 * store.attempts[-1].size)
    await asyncio.gather(*[accounts.execute("1", deposit(1)) for _ in range(3)])
    assert sizes(store) == [3, 3, 1, 2, 1]

    monkeypatch.setattr(queue_module, "BATCH_BYTES", 1)
    results = await asyncio.gather(*[accounts.execute("1", deposit(1)) for _ in range(2)])
    assert sizes(store)[5:] == [1, 1]
    assert [result.stream_version for result in results if result] == [11, 12]


async def test_queued_commands_never_meet_in_conflicts(store: FaultyStore, accounts: Accounts) -> None:
    await asyncio.gather(*[accounts.execute("1", deposit(1)) for _ in range(10)])

    assert accounts.conflicts_retried == 0
    assert (await accounts.get("1")).balance == 10


async def test_commands_of_deciders_are_queued_too(store: FaultyStore) -> None:
    carts = DeciderRepository(cart_decider, store)

    await asyncio.gather(*[carts.execute("1", AddItem(sku)) for sku in ("a", "b", "a")])

    assert sizes(store) == [3]
    assert (await carts.get("1")).items == {"a": 2, "b": 1}


async def test_a_snapshot_is_taken_when_one_is_due_before_callers_are_answered(store: FaultyStore) -> None:
    accounts = Repository(Account, store, snapshot_every=3)

    await asyncio.gather(*[accounts.execute("1", deposit(1)) for _ in range(2)])
    assert await store.read_snapshot("account-1") is None
    await asyncio.gather(*[accounts.execute("1", deposit(1)) for _ in range(2)])
    snapshot = await store.read_snapshot("account-1")

    assert snapshot is not None
    assert snapshot.stream_version == 4


# --- Time and place ---------------------------------------------------------------------------------------------------


async def test_a_queue_is_removed_with_its_state_when_no_command_waits(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[weakref.ref[Account]] = []
    load = accounts._loader.load

    async def watched(aggregate_id: str) -> Account:
        state = await load(aggregate_id)
        states.append(weakref.ref(state))
        return state

    monkeypatch.setattr(accounts._loader, "load", watched)
    await asyncio.gather(*[accounts.execute(str(number), deposit(1)) for number in range(10)])
    with pytest.raises(DomainError) as kept:
        await accounts.execute("1", deposit(1000))
    await settle()
    gc.collect()
    assert kept.value.__traceback__ is not None

    assert store.command_queues == {}
    assert [state() for state in states] == [None] * 11


async def test_a_command_that_waits_too_long_in_the_queue_raises_an_error_and_nothing_was_written(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate, first = await under_way(store, accounts)

    with pytest.raises(AggregateBusyError) as busy:
        await accounts.execute("1", deposit(5), retry=RetryConfig(max_seconds=0))
    assert busy.value.is_transient
    assert re.fullmatch(
        r"a command waited for 0\.\d\d s behind others on 'account-1', and nothing was written: "
        r"try again later, allow more time with RetryConfig\(max_seconds=...\), or call it less often",
        str(busy.value),
    )
    gate.opened.set()
    await first
    await settle()

    assert await amounts(store) == [1]


async def test_each_event_loop_has_queues_of_its_own(store: FaultyStore, accounts: Accounts) -> None:
    gate, first = await under_way(store, accounts)

    elsewhere = await asyncio.to_thread(lambda: asyncio.run(accounts.execute("1", deposit(2))))
    gate.opened.set()

    assert elsewhere == AppendResult("account-1", 1, (1,))
    assert await first == AppendResult("account-1", 2, (2,))


async def test_a_task_that_begins_at_once_finds_the_command_in_the_queue(
    store: FaultyStore, accounts: Accounts
) -> None:
    """As with `asyncio.eager_task_factory`, which Python has from 3.12 on."""

    def at_once(loop: asyncio.AbstractEventLoop, task: Any, **given: Any) -> asyncio.Future[Any]:
        with pytest.raises(StopIteration) as ended:
            given["context"].run(task.send, None)
        done = loop.create_future()
        done.set_result(ended.value.value)
        return done

    loop = asyncio.get_running_loop()
    loop.set_task_factory(at_once)
    try:
        results = [await accounts.execute("1", deposit(amount)) for amount in (1, 2)]
    finally:
        loop.set_task_factory(None)

    assert results == [AppendResult("account-1", 1, (1,)), AppendResult("account-1", 2, (2,))]


async def test_an_open_account_is_opened_once_by_many(store: FaultyStore, accounts: Accounts) -> None:
    results = await asyncio.gather(
        *[accounts.execute("1", lambda account: account.open("ann")) for _ in range(5)], return_exceptions=True
    )

    assert [type(result) for result in results] == [AppendResult] + [DomainError] * 4
    assert [stored.event for stored in await store.read_all_events()] == [Opened(owner="ann")]
