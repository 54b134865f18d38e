"""Queued commands with command ids: a repeat is found, whichever process executed the command."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from perdure import (
    ANY,
    AppendResult,
    DomainError,
    NewEvent,
    Repository,
    StoreUnavailableError,
)
from perdure.commit import Commit
from perdure.repository.command_id import CommandId
from tests.repository.accounts import (
    Account,
    Audited,
    Deposited,
    FaultyStore,
    Gate,
    QueueingStore,
    amounts,
    deposit,
    outcomes,
    settle,
    sizes,
)

Accounts = Repository[Account]


@pytest.fixture
def store() -> FaultyStore:
    return QueueingStore()


async def test_the_same_command_twice_at_once_is_executed_once(store: FaultyStore, accounts: Accounts) -> None:
    results = await outcomes(
        accounts.execute("1", deposit(1), command_id="a"),
        accounts.execute("1", deposit(2), command_id="b"),
        accounts.execute("1", deposit(1), command_id="a"),
        accounts.execute("1", deposit(2), command_id="c"),
    )

    assert results[0] == results[2]
    assert [result.stream_version for result in results] == [1, 2, 1, 3]
    assert await amounts(store) == [1, 2, 2]


@pytest.mark.parametrize("refuses", [True, False])
async def test_the_same_command_twice_at_once_never_acts_on_what_it_has_done_itself(
    store: FaultyStore, accounts: Accounts, refuses: bool
) -> None:
    """As for a rule that lets it be done once only, by which a client's repeat would be refused."""

    def once(account: Account) -> None:
        if account.owner is None:
            account.open("ann")
        elif refuses:
            raise DomainError("the account is open already")

    results = await outcomes(
        *[accounts.execute("1", once, command_id="a") for _ in range(3)], accounts.execute("1", deposit(1))
    )

    assert results == [AppendResult("account-1", 1, (1,))] * 3 + [AppendResult("account-1", 2, (2,))]


async def test_a_command_that_another_process_did_meanwhile_gives_its_result_and_the_others_go_on(
    store: FaultyStore, accounts: Accounts
) -> None:
    elsewhere = Repository(Account, store, queue_commands=False)

    async def another(commit: Commit) -> None:
        await elsewhere.execute("1", lambda account: account.fill(), command_id="a")

    store.before.append(another)
    results = await outcomes(
        accounts.execute("1", lambda account: account.fill(), command_id="a"),
        accounts.execute("1", lambda account: account.open("ann")),
    )

    assert results == [AppendResult("account-1", 1, (1,)), AppendResult("account-1", 2, (2,))]


async def test_a_batch_that_another_process_did_meanwhile_gives_its_results(
    store: FaultyStore, accounts: Accounts
) -> None:
    async def another(commit: Commit) -> None:
        await store.intrude(Audited())
        events = [NewEvent(Deposited(amount=1), event_id=CommandId(name, "account-1").event_id(0)) for name in "ab"]
        await store.append_to_stream("account-1", ANY, events)

    store.before.append(another)
    results = await outcomes(*[accounts.execute("1", deposit(1), command_id=name) for name in "ab"])

    assert results == [AppendResult("account-1", 2, (2,)), AppendResult("account-1", 3, (3,))]
    assert await amounts(store) == [1, 1]


@pytest.mark.parametrize("can_be_read", [True, False])
async def test_a_command_that_another_process_decided_otherwise_counts_as_that_did(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, can_be_read: bool
) -> None:
    """The result is the first one, and stands where ours would: so only a look at the events tells the difference."""
    stream_page = store.reader.stream_page

    async def unreachable(*args: Any) -> Any:
        monkeypatch.setattr(store.reader, "stream_page", stream_page)
        raise StoreUnavailableError("can't reach the database")

    async def another(commit: Commit) -> None:
        await Repository(Account, store, queue_commands=False).execute("1", deposit(90), command_id="a")
        if not can_be_read:
            monkeypatch.setattr(store.reader, "stream_page", unreachable)

    seen: list[int] = []

    def too_much(account: Account) -> None:
        seen.append(account.balance)
        account.deposit(20)

    store.before.append(another)
    results = await outcomes(accounts.execute("1", deposit(85), command_id="a"), accounts.execute("1", too_much))

    assert results[0] == AppendResult("account-1", 1, (1,))
    assert isinstance(results[1], DomainError)
    assert seen == [85, 90]
    assert await amounts(store) == [90]


async def test_named_commands_go_on_from_the_state_that_was_written(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []
    stream_page = store.reader.stream_page

    async def counted(stream_id: str, from_version: int, *rest: Any) -> Any:
        pages.append(from_version)
        return await stream_page(stream_id, from_version, *rest)

    monkeypatch.setattr(store.reader, "stream_page", counted)

    async def task(name: str) -> None:
        for number in range(3):
            await accounts.execute("1", deposit(1), command_id=f"{name} {number}")

    await asyncio.gather(*map(task, "ab"))

    assert sizes(store) == [2, 2, 2]
    assert pages == [0]


async def test_a_repeat_of_a_command_is_answered_without_loading_again(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    store.before.append(gate)
    first = asyncio.create_task(accounts.execute("1", deposit(1), command_id="a"))
    await gate.reached.wait()
    again = asyncio.create_task(accounts.execute("1", deposit(1), command_id="a"))
    await settle()
    loads: list[str] = []
    monkeypatch.setattr(accounts._loader, "load", loads.append)
    gate.opened.set()

    assert await again == await first
    assert loads == []


async def test_a_look_up_that_fails_fails_its_own_command(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_event = store.read_event

    async def unreachable(event_id: UUID, **settings: Any) -> Any:
        if event_id == CommandId("a", "account-1").event_id(0):
            raise StoreUnavailableError("can't reach the database")
        return await read_event(event_id, **settings)

    monkeypatch.setattr(store, "read_event", unreachable)
    results = await outcomes(*[accounts.execute("1", deposit(1), command_id=name) for name in "ab"])

    assert [type(result) for result in results] == [StoreUnavailableError, AppendResult]
