"""Several aggregates whose append was sent, and of which it isn't known whether it is written."""

import asyncio
from typing import Any

import pytest

from perdure import (
    AppendResult,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    Repository,
    save_all,
)
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
async def test_aggregates_whose_common_append_is_unknown_can_only_be_saved_together(
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
async def test_aggregates_whose_appends_are_unknown_one_by_one_are_settled_one_by_one(
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


async def test_a_conflict_settles_an_unknown_outcome(
    store: Faulty, purses: Repository[Purse], ann: Purse, bob: Purse
) -> None:
    store.before.append(UNKNOWN)
    ann.take(30)
    bob.put(30)
    with pytest.raises(OutcomeUnknownError):
        await save_all(store, [ann, bob])
    await store.intrude("purse-bob", PurseChanged(amount=1))
    with pytest.raises(OptimisticConcurrencyError):
        await save_all(store, [ann, bob])

    assert await purses.save(ann) is not None
