"""Several aggregates saved at once: all of them, or none, and once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from perdure import (
    AppendResult,
    DomainError,
    EventStore,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    PayloadTooLargeError,
    PostgreSQLEventStore,
    Repository,
    RetryConfig,
    StoreUnavailableError,
    execute_all,
    save_all,
)
from perdure.commit import PAYLOAD_LIMIT
from perdure.transaction import Transaction
from tests.repository.accounts import AT_ONCE
from tests.repository.purses import (
    UNKNOWN,
    Faulty,
    Limit,
    LimitSet,
    Purse,
    PurseChanged,
    amounts,
    ann,
    bob,
    counts,
    limit,
    purses,
    store,
)

__all__ = ["ann", "bob", "limit", "purses", "store"]  # fixtures, which are imported to be found


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


async def test_a_payload_over_the_limit_is_not_written(store: Faulty, ann: Purse, bob: Purse) -> None:
    ann.take(30)
    bob.put(30, note="x" * PAYLOAD_LIMIT)

    with pytest.raises(PayloadTooLargeError):
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

    await execute_all(
        store, decide, retry=RetryConfig(max_attempts=200, max_seconds=600, base_delay=0.005, max_delay=0.05)
    )


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
    assert [result.stream_version for result in results] == [4, 2]
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
