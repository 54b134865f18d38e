"""Queued commands whose commit fails: for all of them, or for the one that is to blame."""

from typing import Any
from uuid import UUID

import pytest

from perdure import (
    ANY,
    AggregateRoot,
    AppendResult,
    DatabaseError,
    EventIdReuseError,
    NewEvent,
    Repository,
    StoreUnavailableError,
    event,
    handles,
)
from perdure.commit import Commit
from perdure.context import sources
from tests.repository.accounts import (
    Account,
    Audited,
    Fault,
    FaultyStore,
    QueueingStore,
    amounts,
    broken,
    closed,
    deposit,
    outcomes,
    overloaded,
    sizes,
    unavailable,
)

Accounts = Repository[Account]


@pytest.fixture
def store() -> FaultyStore:
    return QueueingStore()


@pytest.mark.parametrize("fault", [unavailable, overloaded, closed, broken])
async def test_a_failure_that_concerns_all_raises_an_error_of_its_own_in_each_caller(
    store: FaultyStore, accounts: Accounts, fault: Fault
) -> None:
    store.before.append(fault)
    results = await outcomes(
        accounts.execute("1", deposit(1)), accounts.execute("1", deposit(2)), accounts.execute("1", lambda _: None)
    )

    assert type(results[0]) is type(results[1])
    assert results[0] is not results[1]
    assert results[2] is None
    assert await amounts(store) == []
    assert sizes(store) == [2]
    await accounts.execute("1", deposit(3))
    assert await amounts(store) == [3]


async def test_an_error_that_cant_be_copied_is_raised_all_the_same(store: FaultyStore, accounts: Accounts) -> None:
    class StubbornError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("stubborn")

    async def stubborn(commit: Commit) -> None:
        raise StubbornError(1, 2)

    store.before.append(stubborn)
    results = await outcomes(*[accounts.execute("1", deposit(1)) for _ in range(2)])

    assert [type(result) for result in results] == [StubbornError, StubbornError]


async def test_what_one_has_decided_fails_its_own_command_alone(store: FaultyStore, accounts: Accounts) -> None:
    async def refuse(commit: Commit) -> None:
        if any('"amount":13' in one.event_data for one in commit.events):
            raise DatabaseError("refused", "23514")

    store.before += [refuse] * 4
    results = await outcomes(*[accounts.execute("1", deposit(amount)) for amount in (1, 13, 2)])

    assert [type(result) for result in results] == [AppendResult, DatabaseError, AppendResult]
    assert sizes(store) == [3, 1, 1, 1]
    assert await amounts(store) == [1, 2]


async def test_an_event_id_that_is_taken_fails_its_own_command_alone(store: FaultyStore, accounts: Accounts) -> None:
    taken = UUID(int=1)
    await store.append_to_stream("account-2", ANY, [NewEvent(Audited(), event_id=taken)])

    async def with_old_id() -> AppendResult | None:
        with sources(new_id=lambda: taken):
            return await accounts.execute("1", deposit(1))

    results = await outcomes(accounts.execute("1", deposit(2)), with_old_id(), with_old_id(), with_old_id())

    assert [type(result) for result in results] == [AppendResult] + [EventIdReuseError] * 3
    assert await amounts(store) == [2]


async def test_when_loading_fails_each_caller_gets_the_error_and_the_next_command_tries_again(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*args: Any) -> Any:
        raise StoreUnavailableError("can't reach the database")

    with monkeypatch.context() as patch:
        patch.setattr(store.reader, "stream_page", unreachable)
        results = await outcomes(*[accounts.execute("1", deposit(1)) for _ in range(2)])

    assert [type(result) for result in results] == [StoreUnavailableError] * 2
    assert results[0] is not results[1]
    assert await accounts.execute("1", deposit(1)) == AppendResult("account-1", 1, (1,))


@event("well.dug")
class Dug:
    depth: int


class Well(AggregateRoot, category="well"):
    depth: int = 0

    @handles
    def _dug(self, event: Dug) -> None:
        if self.depth and not self.uncommitted.events:
            raise ZeroDivisionError("only what is stored does that")
        self.depth += event.depth


async def test_events_that_cant_be_applied_as_they_are_stored_fail_the_commands_that_come_after(
    store: FaultyStore,
) -> None:
    wells = Repository(Well, store)

    def dig(well: Well) -> None:
        well.raise_event(Dug(depth=1))
        well.uncommitted.events.append(NewEvent(Dug(depth=1)))
        well.stream_version += 1

    results = await outcomes(*[wells.execute("1", dig) for _ in range(3)])

    assert [type(result) for result in results] == [AppendResult, ZeroDivisionError, ZeroDivisionError]
