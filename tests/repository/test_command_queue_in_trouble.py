"""Commands that take turns when their commit fails, or its outcome is unknown, or somebody stops waiting."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import pytest

from perdure import (
    ANY,
    AggregateRoot,
    AppendResult,
    DatabaseError,
    DomainError,
    EventIdReuseError,
    InMemoryEventStore,
    NewEvent,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    Repository,
    RetryConfig,
    StoreUnavailableError,
    event,
    handles,
)
from perdure.commit import Commit
from perdure.context import sources
from perdure.repository.command_id import CommandId
from tests.repository.accounts import (
    Account,
    Audited,
    Deposited,
    Fault,
    FaultyStore,
    Gate,
    Opened,
    amounts,
    broken,
    closed,
    connection_lost,
    deposit,
    overloaded,
    settle,
    sizes,
    unavailable,
)

Accounts = Repository[Account]
ONCE = RetryConfig(max_attempts=1)


@pytest.fixture
def accounts(queueing: Accounts) -> Accounts:
    return queueing


async def outcomes(*calls: Coroutine[Any, Any, AppendResult | None]) -> list[Any]:
    """What comes of calls that are made at once."""
    return list(await asyncio.gather(*calls, return_exceptions=True))


# --- Somebody was faster ----------------------------------------------------------------------------------------------


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


async def test_those_who_decide_again_stand_before_those_who_came_meanwhile(
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


# --- It isn't known whether it was written ----------------------------------------------------------------------------


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


async def test_after_a_doubt_the_state_is_folded_anew(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accounts._queues is not None
    load = accounts._queues.loader.load
    loads: list[str] = []

    async def counted(aggregate_id: str) -> Account:
        loads.append(aggregate_id)
        return await load(aggregate_id)

    monkeypatch.setattr(accounts._queues.loader, "load", counted)
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


async def test_who_is_out_of_attempts_is_told_of_its_own_ids_and_the_others_go_on(
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
async def test_a_doubt_isnt_forgotten_when_a_repeat_fails_otherwise(
    store: FaultyStore, accounts: Accounts, fault: Fault
) -> None:
    store.after += [connection_lost]
    store.before += [None, fault, fault]
    results = await outcomes(*[accounts.execute("1", deposit(amount)) for amount in (1, 2)])

    assert [type(result) for result in results] == [OutcomeUnknownError] * 2
    assert store.ids(0) == store.ids(1) == store.ids(2)
    assert await amounts(store) == [1, 2]


# --- It failed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [unavailable, overloaded, closed, broken])
async def test_what_concerns_all_is_told_to_each_as_an_error_of_its_own(
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


async def test_an_error_that_cant_be_copied_is_told_all_the_same(store: FaultyStore, accounts: Accounts) -> None:
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


async def test_when_loading_fails_each_is_told_and_the_next_one_tries_again(
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


async def test_events_that_cant_be_applied_as_they_are_stored_are_met_by_those_who_come_after(
    store: FaultyStore,
) -> None:
    wells = Repository(Well, store, queue_commands=True)

    def dig(well: Well) -> None:
        well.raise_event(Dug(depth=1))
        well.uncommitted.events.append(NewEvent(Dug(depth=1)))
        well.stream_version += 1

    results = await outcomes(*[wells.execute("1", dig) for _ in range(3)])

    assert [type(result) for result in results] == [AppendResult, ZeroDivisionError, ZeroDivisionError]


# --- Commands that know their name ------------------------------------------------------------------------------------


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
    elsewhere = Repository(Account, store)

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
        await Repository(Account, store).execute("1", deposit(90), command_id="a")
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


async def test_named_commands_go_on_from_a_state_that_was_compared_with_what_is_stored(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []
    stream_page = store.reader.stream_page

    async def counted(stream_id: str, from_version: int, limit: int | None) -> Any:
        pages.append(from_version)
        return await stream_page(stream_id, from_version, limit)

    monkeypatch.setattr(store.reader, "stream_page", counted)

    async def task(name: str) -> None:
        for number in range(3):
            await accounts.execute("1", deposit(1), command_id=f"{name} {number}")

    await asyncio.gather(*map(task, "ab"))

    assert sizes(store) == [2, 2, 2]
    assert pages == [0, 0, 2, 4]


async def test_a_repeat_of_a_command_is_answered_without_loading_anew(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    store.before.append(gate)
    first = asyncio.create_task(accounts.execute("1", deposit(1), command_id="a"))
    await gate.reached.wait()
    again = asyncio.create_task(accounts.execute("1", deposit(1), command_id="a"))
    await settle()
    loads: list[str] = []
    assert accounts._queues is not None
    monkeypatch.setattr(accounts._queues.loader, "load", loads.append)
    gate.opened.set()

    assert await again == await first
    assert loads == []


async def test_a_look_up_that_fails_fails_its_own_command(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_event = store.read_event

    async def unreachable(event_id: UUID) -> Any:
        if event_id == CommandId("a", "account-1").event_id(0):
            raise StoreUnavailableError("can't reach the database")
        return await read_event(event_id)

    monkeypatch.setattr(store, "read_event", unreachable)
    results = await outcomes(*[accounts.execute("1", deposit(1), command_id=name) for name in "ab"])

    assert [type(result) for result in results] == [StoreUnavailableError, AppendResult]


# --- Somebody stops waiting -------------------------------------------------------------------------------------------


async def test_who_is_cancelled_before_the_turn_has_written_nothing(store: FaultyStore, accounts: Accounts) -> None:
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


async def test_who_is_cancelled_after_it_was_sent_may_be_written_and_holds_up_nobody(
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


async def test_who_was_cancelled_isnt_decided_again(store: FaultyStore, accounts: Accounts) -> None:
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


async def test_an_action_may_cancel_those_behind_it(store: FaultyStore, accounts: Accounts) -> None:
    tasks: list[asyncio.Task[Any]] = []

    def action(account: Account) -> None:
        tasks[1].cancel()
        account.deposit(1)

    tasks += [asyncio.create_task(accounts.execute("1", one)) for one in (action, deposit(2), deposit(3))]
    await asyncio.gather(*tasks, return_exceptions=True)

    assert tasks[1].cancelled()
    assert await amounts(store) == [1, 3]


async def test_nobody_waits_for_ever_when_the_work_itself_is_cancelled(store: FaultyStore, accounts: Accounts) -> None:
    gate = Gate()
    store.before.append(gate)
    tasks = [asyncio.create_task(accounts.execute("1", deposit(1)))]
    await gate.reached.wait()
    tasks.append(asyncio.create_task(accounts.execute("1", deposit(2))))
    await settle()
    assert accounts._queues is not None
    [queue] = accounts._queues._queues.values()
    queue.task.cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [OutcomeUnknownError, asyncio.CancelledError]
    assert await accounts.execute("1", deposit(3)) == AppendResult("account-1", 1, (1,))


async def test_a_program_may_end_while_commands_are_under_way() -> None:
    """As `asyncio.run` does: all tasks are cancelled, in any order, and nothing is left."""
    store = InMemoryEventStore()
    accounts = Repository(Account, store, queue_commands=True)
    before = asyncio.all_tasks()
    callers = [asyncio.create_task(accounts.execute(str(number % 2), deposit(1))) for number in range(5)]
    await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - before
    assert len(tasks) == len(callers) + 2
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(result) for result in results} == {asyncio.CancelledError}
    await accounts.execute("1", deposit(1))
    await settle()
    assert accounts._queues is not None
    assert accounts._queues._queues == {}


async def test_a_line_whose_work_never_began_holds_up_nobody(accounts: Accounts) -> None:
    waiting = asyncio.create_task(accounts.execute("1", deposit(1)))
    await asyncio.sleep(0)
    assert accounts._queues is not None
    [queue] = accounts._queues._queues.values()
    queue.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await accounts.execute("1", deposit(1)) == AppendResult("account-1", 1, (1,))
