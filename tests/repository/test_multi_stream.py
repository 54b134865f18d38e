"""Several aggregates saved at once: all of them, or none, and once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from perdure import (
    AggregateRoot,
    AppendResult,
    DomainError,
    EventEncodingError,
    EventStore,
    InMemoryEventStore,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PostgreSQLEventStore,
    Repository,
    RetryConfig,
    StoreUnavailableError,
    command,
    event,
    execute_all,
    handles,
    save_all,
)
from perdure.commit import Commit, CommitGroup
from perdure.transaction import Transaction
from tests.repository.accounts import AT_ONCE


@event("purse.opened")
class PurseOpened:
    amount: int


@event("purse.changed")
class PurseChanged:
    amount: int
    note: str = ""


@event("limit.set")
class LimitSet:
    amount: int


class Purse(AggregateRoot, category="purse"):
    amount: int = 0

    @command
    def open(self, amount: int) -> None:
        self.raise_event(PurseOpened(amount=amount))

    @command
    def take(self, amount: int) -> None:
        if amount > self.amount:
            raise DomainError("not enough in the purse")
        self.raise_event(PurseChanged(amount=-amount))

    @command
    def put(self, amount: int, note: str = "") -> None:
        self.raise_event(PurseChanged(amount=amount, note=note))

    @handles
    def _opened(self, event: PurseOpened) -> None:
        self.amount = event.amount

    @handles
    def _changed(self, event: PurseChanged) -> None:
        self.amount += event.amount


class Limit(AggregateRoot, category="limit"):
    amount: int = 0

    @command
    def set(self, amount: int) -> None:
        self.raise_event(LimitSet(amount=amount))

    @handles
    def _set(self, event: LimitSet) -> None:
        self.amount = event.amount


class Faulty(InMemoryEventStore):
    """Raises before, or after, a group is written: the next of `before` and `after`; None lets it be."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Exception | type[BaseException] | None] = []
        self.after: list[Exception | type[BaseException] | None] = []
        self.groups: list[CommitGroup] = []
        self.transactions: list[Transaction | None] = []

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        [result] = await self.append_group(CommitGroup((commit,), {}), tx)
        return result

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        self.groups.append(group)
        self.transactions.append(tx)
        if self.before and (fault := self.before.pop(0)):
            raise fault
        results = await super().append_group(group)
        if self.after and (fault := self.after.pop(0)):
            raise fault
        return results

    async def intrude(self, stream_id: str, payload: object) -> None:
        """Append behind everybody's back."""
        commit = self.encode(stream_id, await self.stream_version(stream_id), [payload])
        await super().append_group(CommitGroup((commit,), {}))

    def sent(self) -> list[list[tuple[str, int]]]:
        """The streams of each attempt, with the number of their events."""
        return [[(commit.stream_id, len(commit.events)) for commit in group.commits] for group in self.groups]


UNKNOWN = OutcomeUnknownError([])


@pytest.fixture
async def store() -> Faulty:
    store = Faulty()
    await store.intrude("purse-ann", PurseOpened(amount=100))
    await store.intrude("purse-bob", PurseOpened(amount=0))
    await store.intrude("limit-ann", LimitSet(amount=50))
    return store


@pytest.fixture
def purses(store: Faulty) -> Repository[Purse]:
    return Repository(Purse, store, retry=AT_ONCE)


@pytest.fixture
async def ann(purses: Repository[Purse]) -> Purse:
    return await purses.get("ann")


@pytest.fixture
async def bob(purses: Repository[Purse]) -> Purse:
    return await purses.get("bob")


@pytest.fixture
async def limit(store: Faulty) -> Limit:
    return await Repository(Limit, store).get("ann")


async def amounts(store: EventStore) -> list[int]:
    """What was moved, in the order of the log."""
    return [one.event.amount for one in await store.read_all_events(event_types=[PurseChanged])]


def counts(*aggregates: AggregateRoot) -> list[int]:
    return [len(one.uncommitted_events) for one in aggregates]


async def test_aggregates_of_several_classes_are_saved_in_the_order_given(
    store: Faulty, ann: Purse, bob: Purse, limit: Limit
) -> None:
    ann.take(30)
    bob.put(10)
    bob.put(20)
    limit.set(20)

    assert await save_all(store, [bob, limit, ann]) == [
        AppendResult("purse-bob", 3, (4, 5)),
        AppendResult("limit-ann", 2, (6,)),
        AppendResult("purse-ann", 2, (7,)),
    ]
    assert counts(ann, bob, limit) == [0, 0, 0]
    assert ann.uncommitted.commands == []
    assert (ann.stream_version, bob.stream_version) == (2, 3)

    ann.take(1)
    await save_all(store, (ann,))
    assert await amounts(store) == [10, 20, -30, -1]


async def test_a_conflict_names_the_stream_and_leaves_all_aggregates_as_they_were(
    store: Faulty, ann: Purse, bob: Purse
) -> None:
    ann.take(30)
    bob.put(30)
    events = (ann.uncommitted_events, bob.uncommitted_events)
    await store.intrude("purse-bob", PurseChanged(amount=1))

    with pytest.raises(OptimisticConcurrencyError) as conflict:
        await save_all(store, [ann, bob])

    error = conflict.value
    assert (error.stream_id, error.expected_version, error.actual_version) == ("purse-bob", 1, 2)
    assert (ann.uncommitted_events, bob.uncommitted_events) == events
    assert await amounts(store) == [1]


async def test_an_aggregate_without_events_must_not_have_changed(
    store: Faulty, ann: Purse, bob: Purse, limit: Limit
) -> None:
    ann.take(30)
    results = await save_all(store, [limit, bob, ann, Limit("new")])
    assert [result and result.stream_version for result in results] == [None, None, 2, None]
    assert store.groups[-1].conditions == {"limit-ann": 1, "purse-bob": 1, "limit-new": 0}

    ann.take(30)
    await store.intrude("limit-ann", LimitSet(amount=10))
    with pytest.raises(OptimisticConcurrencyError) as conflict:
        await save_all(store, [limit, ann])
    assert conflict.value.stream_id == "limit-ann"
    assert await amounts(store) == [-30]


async def test_further_streams_may_have_conditions(store: Faulty, ann: Purse) -> None:
    ann.take(30)
    with pytest.raises(OptimisticConcurrencyError) as conflict:
        await save_all(store, [ann], conditions={"limit-ann": 7})
    assert conflict.value.stream_id == "limit-ann"

    await save_all(store, [ann], conditions={"limit-ann": 1, "limit-bob": 0})


async def test_when_nothing_was_decided_nothing_is_written_or_checked(store: Faulty, ann: Purse, bob: Purse) -> None:
    await store.intrude("purse-ann", PurseChanged(amount=1))

    assert await save_all(store, [ann, bob]) == [None, None]
    assert await save_all(store, []) == []
    assert store.groups == []


async def test_a_value_that_cant_be_encoded_is_not_written(store: Faulty, ann: Purse, bob: Purse) -> None:
    ann.take(30)
    bob.put(30, note="nul\x00")

    with pytest.raises(EventEncodingError, match="NUL"):
        await save_all(store, [ann, bob])

    assert await amounts(store) == []
    assert counts(ann, bob) == [1, 1]
    assert ann.uncommitted.pending == []


async def test_bad_arguments_are_refused(store: Faulty, purses: Repository[Purse], ann: Purse, limit: Limit) -> None:
    ann.take(30)
    bad: list[Any] = [None, ann, "ann", {ann}, ["purse-ann"], [ann, None], [ann, ann], [ann, await purses.get("ann")]]
    for aggregates in bad:
        with pytest.raises(InvalidArgumentError, match="aggregates"):
            await save_all(store, aggregates)
    conditions: list[Any] = [[("limit-ann", 1)], {"purse-ann": 1}, {"limit-ann": 1}, {"limit-bob": -1}]
    for one in conditions:
        with pytest.raises(InvalidArgumentError):
            await save_all(store, [ann, limit], conditions=one)

    assert await amounts(store) == []
    assert counts(ann) == [1]


# --- Outcomes that aren't known ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("fault", [UNKNOWN, asyncio.CancelledError, ZeroDivisionError])
async def test_after_an_unknown_outcome_saving_again_writes_once(
    store: Faulty, ann: Purse, bob: Purse, limit: Limit, written: bool, fault: Any
) -> None:
    (store.after if written else store.before).append(fault)
    ann.take(30)
    bob.put(30)
    with pytest.raises(type(fault) if isinstance(fault, Exception) else fault):
        await save_all(store, [ann, bob, limit])
    assert counts(ann, bob) == [1, 1]

    results = await save_all(store, [ann, bob, limit])

    assert results == [AppendResult("purse-ann", 2, (4,)), AppendResult("purse-bob", 2, (5,)), None]
    assert store.groups[0] == store.groups[1]
    assert await amounts(store) == [-30, 30]
    assert counts(ann, bob) == [0, 0]


@pytest.mark.parametrize("written", [True, False])
async def test_what_was_raised_after_an_unknown_outcome_is_saved_beside_it(
    store: Faulty, ann: Purse, bob: Purse, limit: Limit, written: bool
) -> None:
    (store.after if written else store.before).append(UNKNOWN)
    ann.take(30)
    bob.put(30)
    with pytest.raises(OutcomeUnknownError):
        await save_all(store, [ann, bob])
    ann.take(1)
    limit.set(69)

    results = await save_all(store, [ann, bob, limit])

    assert store.sent()[1:] == [[("purse-ann", 1), ("purse-bob", 1)], [("purse-ann", 1), ("limit-ann", 1)]]
    assert results == [
        AppendResult("purse-ann", 3, (4, 6)),
        AppendResult("purse-bob", 2, (5,)),
        AppendResult("limit-ann", 2, (7,)),
    ]
    assert await amounts(store) == [-30, 30, -1]


async def test_a_repeat_of_an_append_that_was_not_written_still_has_its_conditions(
    store: Faulty, ann: Purse, limit: Limit
) -> None:
    store.before.append(UNKNOWN)
    ann.take(30)
    with pytest.raises(OutcomeUnknownError):
        await save_all(store, [ann, limit])
    await store.intrude("limit-ann", LimitSet(amount=10))
    limit.set(20)

    with pytest.raises(OptimisticConcurrencyError):
        await save_all(store, [ann, limit])

    assert await amounts(store) == []
    assert ann.uncommitted.pending_with == frozenset()


@pytest.mark.parametrize("written", [True, False])
async def test_what_is_in_doubt_together_can_only_be_saved_together(
    store: Faulty, purses: Repository[Purse], ann: Purse, bob: Purse, limit: Limit, written: bool
) -> None:
    (store.after if written else store.before).append(UNKNOWN)
    ann.take(30)
    bob.put(30)
    with pytest.raises(OutcomeUnknownError):
        await save_all(store, [ann, bob], conditions={"limit-ann": 1})

    calls: list[Any] = [purses.save(ann), purses.save_with_retry(bob), save_all(store, [ann, limit])]
    for call in [*calls, save_all(store, [ann, bob])]:
        with pytest.raises(InvalidArgumentError, match=r"saved together with .*limit-ann.* it isn't known whether"):
            await call
    assert len(store.groups) == 1

    await save_all(store, [ann, bob], conditions={"limit-ann": 1})
    ann.take(1)
    await purses.save(ann)
    assert await amounts(store) == [-30, 30, -1]


@pytest.mark.parametrize("written", [(True, False), (False, True), (True, True)])
async def test_aggregates_that_are_in_doubt_each_for_itself_are_settled_each_for_itself(
    store: Faulty, ann: Purse, bob: Purse, written: tuple[bool, bool]
) -> None:
    ann.take(30)
    bob.put(30)
    for aggregate, is_written in zip((ann, bob), written, strict=True):
        (store.after if is_written else store.before).append(UNKNOWN)
        with pytest.raises(OutcomeUnknownError):
            await save_all(store, [aggregate])

    results = await save_all(store, [ann, bob])

    assert [result and result.stream_version for result in results] == [2, 2]
    assert sorted(await amounts(store)) == [-30, 30]


async def test_a_conflict_ends_the_doubt(store: Faulty, purses: Repository[Purse], ann: Purse, bob: Purse) -> None:
    store.before.append(UNKNOWN)
    ann.take(30)
    bob.put(30)
    with pytest.raises(OutcomeUnknownError):
        await save_all(store, [ann, bob])
    await store.intrude("purse-bob", PurseChanged(amount=1))
    with pytest.raises(OptimisticConcurrencyError):
        await save_all(store, [ann, bob])

    assert await purses.save(ann) is not None


# --- In a transaction -------------------------------------------------------------------------------------------------


async def test_in_a_transaction_events_count_as_committed_once_that_is(store: Faulty, ann: Purse, bob: Purse) -> None:
    tx = Transaction()
    for _ in range(2):
        ann.take(10)
        bob.put(10)
        await save_all(store, [ann, bob], tx=tx)
    assert counts(ann, bob) == [2, 2]
    assert set(store.transactions) == {tx}

    tx._confirm()

    assert counts(ann, bob) == [0, 0]
    assert await amounts(store) == [-10, 10, -10, 10]


async def test_on_postgresql_a_transaction_takes_all_aggregates_or_none(postgresql: PostgreSQLEventStore) -> None:
    ann, bob = Purse("ann"), Purse("bob")
    ann.open(5)
    bob.open(6)
    with pytest.raises(DomainError):
        async with postgresql.transaction() as tx:
            await save_all(postgresql, [ann, bob], tx=tx)
            raise DomainError("no")
    assert await postgresql.read_all_events() == []

    async with postgresql.transaction() as tx:
        await save_all(postgresql, [ann, bob], tx=tx)
    assert counts(ann, bob) == [0, 0]
    assert len(await postgresql.read_all_events()) == 2


# --- Deciding again ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def postgresql(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(database_url) as store:
        yield store


async def transfer(store: EventStore, source: str, target: str, amount: int) -> None:
    purses = Repository(Purse, store)

    async def decide() -> Sequence[Purse]:
        one, other = await purses.get(source), await purses.get(target)
        one.take(amount)
        other.put(amount)
        return [one, other]

    await execute_all(store, decide, retry=RetryConfig(max_attempts=200, base_delay=0.005, max_delay=0.05))


async def test_a_transfer_is_decided_again_after_a_conflict(
    store: Faulty, purses: Repository[Purse], pauses: list[float]
) -> None:
    calls: list[int] = []

    async def decide() -> list[Purse]:
        ann, bob = await purses.get("ann"), await purses.get("bob")
        calls.append(ann.amount)
        if len(calls) < 3:
            await store.intrude("purse-ann", PurseChanged(amount=-10))
        ann.take(80)
        bob.put(80)
        return [ann, bob]

    results = await execute_all(store, decide)

    assert calls == [100, 90, 80]
    assert [result and result.stream_version for result in results] == [4, 2]
    assert await amounts(store) == [-10, -10, -80, 80]
    assert len(pauses) == 2


async def test_a_rule_that_fails_on_the_fresh_state_raises_its_own_error(
    store: Faulty, purses: Repository[Purse]
) -> None:
    async def decide() -> list[Purse]:
        ann, bob = await purses.get("ann"), await purses.get("bob")
        await store.intrude("purse-ann", PurseChanged(amount=-90))
        ann.take(80)
        bob.put(80)
        return [ann, bob]

    with pytest.raises(DomainError, match="not enough"):
        await execute_all(store, decide, retry=AT_ONCE)

    assert await amounts(store) == [-90, -90]


@pytest.mark.parametrize("faults", [[UNKNOWN, UNKNOWN], [UNKNOWN, StoreUnavailableError("down")]])
async def test_an_unknown_outcome_is_repeated_with_the_same_ids(
    store: Faulty, purses: Repository[Purse], faults: list[Any], pauses: list[float]
) -> None:
    store.after = [*faults]
    calls: list[int] = []

    async def decide() -> list[Purse]:
        ann, bob = await purses.get("ann"), await purses.get("bob")
        calls.append(ann.take(80) or 80)
        bob.put(80)
        return [ann, bob]

    await execute_all(store, decide)

    assert calls == [80]
    assert len({tuple(group.event_ids) for group in store.groups}) == 1
    assert await amounts(store) == [-80, 80]


async def test_transfers_of_one_moment_lose_no_money(postgresql: PostgreSQLEventStore) -> None:
    names = ["ann", "bob", "eve"]
    purses = [Purse(name) for name in names]
    for purse in purses:
        purse.open(100)
    await save_all(postgresql, purses)

    moves = [(names[n % 3], names[(n + 1 + n % 2) % 3], n) for n in range(15)]
    await asyncio.gather(*[transfer(postgresql, *move) for move in moves])

    found = [await Repository(Purse, postgresql).get(name) for name in names]
    expected = {name: 100 + sum(n * ((to == name) - (of == name)) for of, to, n in moves) for name in names}
    assert {purse.aggregate_id: purse.amount for purse in found} == expected
