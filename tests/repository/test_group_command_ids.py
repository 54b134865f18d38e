"""Commands to several aggregates that know their id: executed once, whichever aggregates a repeat would change."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Any

import pytest

from perdure import (
    AggregateRoot,
    AppendResult,
    CommandIdReuseError,
    DeciderRepository,
    DomainError,
    EventStore,
    InMemoryEventStore,
    InvalidArgumentError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PostgreSQLEventStore,
    PostgreSQLTransaction,
    Repository,
    StoreUnavailableError,
    context,
    execute_all,
    save_all,
)
from perdure.repository.command_id import SEVERAL_STREAMS, CommandId
from tests.patience import patience
from tests.repository.accounts import AT_ONCE
from tests.repository.carts import AddItem, Pay, cart_decider
from tests.repository.purses import UNKNOWN, Faulty, Purse, PurseChanged, amounts, purses, store

__all__ = ["purses", "store"]  # fixtures, which are imported to be found

Decide = Callable[[], Awaitable[list[AggregateRoot]]]


def moving(store: EventStore, moves: dict[str, list[int]], meanwhile: Decide | None = None) -> Decide:
    """Decide that purses change by these amounts; and then let something happen, the first time."""
    happens = [] if meanwhile is None else [meanwhile]

    async def decide() -> list[AggregateRoot]:
        purses = Repository(Purse, store)
        changed: list[AggregateRoot] = []
        for name, changes in moves.items():
            purse = await purses.load_or_new(name)
            for amount in changes:
                purse.put(amount)
            changed.append(purse)
        if happens:
            await elsewhere(happens.pop())
        return changed

    return decide


async def elsewhere(call: Callable[[], Awaitable[Any]]) -> Any:
    """Do it as another process does: outside the context of the command that decides."""

    async def called() -> Any:
        return await call()

    return await asyncio.create_task(called(), context=Context())


def executing(store: EventStore, decide: Decide, **settings: Any) -> Callable[[], Awaitable[Any]]:
    return lambda: execute_all(store, decide, retry=AT_ONCE, **settings)


TRANSFER = {"ann": [-30], "eve": [], "bob": [10, 20]}


async def test_a_repeat_gives_the_first_results_and_decides_nothing(store: Faulty) -> None:
    first = await execute_all(store, moving(store, TRANSFER), command_id="a")
    assert first == [AppendResult("purse-ann", 2, (4,)), AppendResult("purse-bob", 3, (5, 6))]
    await store.intrude("purse-bob", PurseChanged(amount=1))
    calls: list[int] = []

    async def never() -> list[AggregateRoot]:
        calls.append(1)
        return []

    assert await execute_all(store, never, command_id="a") == first
    assert calls == []
    assert await amounts(store) == [-30, 10, 20, 1]


async def test_without_an_id_it_is_executed_each_time(store: Faulty) -> None:
    first, again = [await execute_all(store, moving(store, {"ann": [1], "bob": [1]})) for _ in range(2)]

    assert [[one.stream_version for one in results] for results in (first, again)] == [[2, 2], [3, 3]]
    assert await execute_all(store, moving(store, {"ann": [], "bob": []})) == []


async def test_ids_are_counted_across_the_group_and_the_first_follows_from_the_command_alone(store: Faulty) -> None:
    await execute_all(store, moving(store, TRANSFER), command_id="a")

    written = (await store.read_all_events())[-3:]
    assert [one.event_id for one in written] == CommandId("a", SEVERAL_STREAMS).event_ids(3)


async def test_one_id_for_a_group_and_for_single_commands_is_several_commands(
    store: Faulty, purses: Repository[Purse]
) -> None:
    await execute_all(store, moving(store, {"ann": [1], "bob": [1]}), command_id="a")
    for name in ("ann", "bob"):
        await purses.execute(name, lambda purse: purse.put(2), command_id="a")

    assert await amounts(store) == [1, 1, 2, 2]


async def test_another_fingerprint_under_a_known_id_is_an_error_and_nothing_is_decided(store: Faulty) -> None:
    first = await execute_all(store, moving(store, TRANSFER), command_id="a", fingerprint="30 to bob")
    calls: list[int] = []

    async def never() -> list[AggregateRoot]:
        calls.append(1)
        return []

    with pytest.raises(CommandIdReuseError) as caught:
        await execute_all(store, never, command_id="a", fingerprint="90 to bob")

    assert (caught.value.stream_id, caught.value.command_id, calls) == ("purse-ann", "a", [])
    assert await execute_all(store, never, command_id="a", fingerprint=b"30 to bob") == first
    assert await execute_all(store, never, command_id="a") == first


async def test_the_command_causes_its_events_unless_the_context_has_a_cause(store: Faulty) -> None:
    await execute_all(store, moving(store, {"ann": [1]}), command_id="a")
    with context(causation_id="event-7"):
        await execute_all(store, moving(store, {"ann": [1]}), command_id="b")

    assert [one.metadata.causation_id for one in (await store.read_all_events())[-2:]] == ["a", "event-7"]


async def test_a_command_that_raised_nothing_or_was_refused_leaves_no_record(store: Faulty) -> None:
    async def refuse() -> list[AggregateRoot]:
        raise DomainError("no")

    assert await execute_all(store, moving(store, {"ann": []}), command_id="a") == []
    with pytest.raises(DomainError):
        await execute_all(store, refuse, command_id="a")

    assert len(await execute_all(store, moving(store, {"ann": [1]}), command_id="a")) == 1


async def test_states_of_deciders_and_aggregates_are_saved_together(store: Faulty) -> None:
    carts = DeciderRepository(cart_decider, store)
    await carts.execute("1", AddItem("heat-dvd"))

    async def decide() -> list[AggregateRoot]:
        cart, purse = await carts.load_aggregate("1"), await Repository(Purse, store).get("ann")
        other = await carts.load_aggregate("2")
        assert (cart.state.items, other.state.items) == ({"heat-dvd": 1}, {})
        cart.decide(Pay(gift="poster"))
        purse.take(30)
        return [cart, purse, other]

    first = await execute_all(store, decide, command_id="a")

    assert [(one.stream_id, one.stream_version) for one in first] == [("cart-1", 3), ("purse-ann", 2)]
    assert await execute_all(store, decide, command_id="a") == first
    assert (await carts.get("1")).is_paid


async def test_an_aggregate_that_was_saved_before_and_may_be_written_is_refused(store: Faulty) -> None:
    ann = await Repository(Purse, store).get("ann")
    ann.take(1)
    store.after.append(UNKNOWN)
    with pytest.raises(OutcomeUnknownError):
        await save_all(store, [ann])

    async def decide() -> list[AggregateRoot]:
        return [ann]

    with pytest.raises(InvalidArgumentError, match="load it again each time"):
        await execute_all(store, decide, command_id="a")


# --- Answers that are lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_command_whose_outcome_is_unknown_is_repeated_by_its_id(store: Faulty, is_written: bool) -> None:
    (store.after if is_written else store.before).extend([UNKNOWN] * 3)
    with pytest.raises(OutcomeUnknownError):
        await execute_all(store, moving(store, {"ann": [-1], "bob": [1]}), command_id="a", retry=AT_ONCE)

    result = await execute_all(store, moving(store, {"ann": [-1], "eve": [1]}), command_id="a", retry=AT_ONCE)

    assert await amounts(store) == [-1, 1]
    assert [one.stream_id for one in result] == ["purse-ann", "purse-bob" if is_written else "purse-eve"]


async def test_a_repeated_group_that_cant_be_compared_at_once_is_compared_again(
    store: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_event = store.read_event
    failing: list[int] = []

    async def unreachable(event_id: Any, **settings: Any) -> Any:
        if len(store.groups) == 2 and not failing:
            failing.append(1)
            raise StoreUnavailableError("can't reach the database")
        return await read_event(event_id, **settings)

    monkeypatch.setattr(store, "read_event", unreachable)
    store.after = [UNKNOWN]
    result = await execute_all(
        store, moving(store, {"ann": [-1], "bob": [1]}), command_id="a", fingerprint="x", retry=AT_ONCE
    )

    assert [one.stream_version for one in result] == [2, 2]
    assert (len(store.groups), len(failing)) == (2, 1)


async def test_a_repeated_group_that_cant_be_compared_is_reported_as_unknown(
    store: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_event = store.read_event

    async def unreachable(event_id: Any, **settings: Any) -> Any:
        if store.groups:
            raise StoreUnavailableError("can't reach the database")
        return await read_event(event_id, **settings)

    monkeypatch.setattr(store, "read_event", unreachable)
    store.after = [UNKNOWN]
    with pytest.raises(OutcomeUnknownError) as caught:
        await execute_all(store, moving(store, {"ann": [-1], "bob": [1]}), command_id="a", retry=AT_ONCE)

    assert list(caught.value.event_ids) == CommandId("a", SEVERAL_STREAMS).event_ids(2)


# --- Races: another attempt of the same command, or another command with its id, after loading ------------------------


@pytest.mark.parametrize(
    "theirs",
    [
        {"ann": [-1], "bob": [1]},
        {"ann": [-1], "bob": [1, 2]},
        {"ann": [-1], "bob": [1], "eve": [2]},
        {"ann": [-1, -2], "bob": [1]},
        {"ann": [-1]},
        {"bob": [1], "ann": [-1]},
        {"eve": [5]},
        {"eve": [5], "joe": [6], "kim": [7]},
    ],
    ids=str,
)
@pytest.mark.parametrize("fingerprint", [None, "x"])
async def test_another_attempt_of_it_meanwhile_gives_the_results(
    store: Faulty, theirs: dict[str, list[int]], fingerprint: str | None
) -> None:
    settings = {"command_id": "a", "fingerprint": fingerprint}
    another = executing(store, moving(store, theirs), **settings)
    ours = moving(store, {"ann": [-1], "bob": [1]}, another)

    result = await executing(store, ours, **settings)()

    assert result == await executing(store, ours, **settings)()
    assert [one.stream_id for one in result] == [f"purse-{name}" for name in theirs]
    assert await amounts(store) == [amount for changes in theirs.values() for amount in changes]


@pytest.mark.parametrize("theirs", [{"ann": [-1], "bob": [1]}, {"eve": [5]}, {"bob": [1], "ann": [-1]}], ids=str)
async def test_another_command_with_its_id_meanwhile_is_an_error(store: Faulty, theirs: dict[str, list[int]]) -> None:
    another = executing(store, moving(store, theirs), command_id="a", fingerprint="theirs")

    with pytest.raises(CommandIdReuseError):
        await executing(store, moving(store, {"ann": [-1], "bob": [1]}, another), command_id="a", fingerprint="ours")()


async def test_a_command_that_its_own_other_attempt_makes_a_rule_refuse_gives_the_results(store: Faulty) -> None:
    """The other attempt comes before loading: after the look-up."""
    results: list[Any] = []

    async def decide() -> list[AggregateRoot]:
        if not results:
            results.append(await elsewhere(executing(store, moving(store, {"ann": [-100]}), command_id="a")))
        ann = await Repository(Purse, store).get("ann")
        ann.take(100)
        return [ann]

    assert await execute_all(store, decide, command_id="a") == results[0]
    with pytest.raises(DomainError):
        await execute_all(store, decide, command_id="b")


async def test_a_command_that_finds_its_work_done_by_its_own_other_attempt_gives_the_results(store: Faulty) -> None:
    results: list[Any] = []

    async def decide() -> list[AggregateRoot]:
        if not results:
            results.append(await elsewhere(executing(store, moving(store, {"ann": [-100]}), command_id="a")))
        ann = await Repository(Purse, store).get("ann")
        if ann.amount:
            ann.take(ann.amount)
        return [ann]

    assert await execute_all(store, decide, command_id="a") == results[0]


async def test_after_a_conflict_the_id_is_looked_up_before_it_is_decided_again(store: Faulty) -> None:
    calls: list[int] = []
    ours = moving(store, {"ann": [1], "bob": [1]})

    async def decide() -> list[AggregateRoot]:
        calls.append(1)
        return await ours()

    store.before.append(OptimisticConcurrencyError("purse-ann", 1, 2))

    async def pause(seconds: float) -> None:
        await execute_all(store, moving(store, {"eve": [7]}), command_id="a")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perdure.repository.command_queue.sleep", pause)
        result = await execute_all(store, decide, command_id="a")

    assert (calls, [one.stream_id for one in result]) == ([1], ["purse-eve"])


@asynccontextmanager
async def two_of(kind: str, url: str) -> AsyncIterator[list[EventStore]]:
    """Two stores on one log, as two processes have them."""
    if kind == "memory":
        both = InMemoryEventStore()
        yield [both, both]
    else:
        async with PostgreSQLEventStore(url) as one, PostgreSQLEventStore(url) as two:
            yield [one, two]


@pytest.mark.parametrize("kind", ["memory", "postgresql"])
async def test_of_many_attempts_at_once_one_takes_effect_and_all_get_its_results(kind: str, database_url: str) -> None:
    """Each attempt changes other purses: only the ids hold them together."""
    async with two_of(kind, database_url) as stores:
        barrier = asyncio.Barrier(20)

        async def attempt(number: int) -> Any:
            store, name = stores[number % 2], f"command {number // 2 % 5}"
            moves = {f"purse{(number + further) % 7}": [number] for further in range(1 + number % 3)}
            await barrier.wait()
            return name, await execute_all(store, moving(store, moves), command_id=name, fingerprint=name)

        answers = await asyncio.gather(*map(attempt, range(20)))

        by_name: dict[str, list[list[AppendResult]]] = {}
        for name, results in answers:
            by_name.setdefault(name, []).append(results)
        assert all(results == [results[0]] * 4 for results in by_name.values())
        written = await stores[0].read_all_events()
        assert len(written) == sum(len(results[0]) for results in by_name.values())


async def wait_until_a_session_waits(tx: PostgreSQLTransaction) -> None:
    sql = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with asyncio.timeout(patience(30)):
        while not await tx.connection.fetch(sql):
            await asyncio.sleep(0.01)
            await tx.connection.execute("select pg_stat_clear_snapshot()")  # a transaction sees the first one only


@pytest.mark.parametrize("is_kept", [True, False], ids=["committed", "rolled back"])
async def test_a_repeat_waits_for_the_first_attempt_that_is_still_open(database_url: str, is_kept: bool) -> None:
    """The first attempt is in a transaction that ends later, and it has changed other aggregates."""
    async with PostgreSQLEventStore(database_url) as one, PostgreSQLEventStore(database_url) as two:
        eve = Purse("eve")
        eve.put(5)
        CommandId("a", SEVERAL_STREAMS).claim(eve.uncommitted.events)
        with suppress(ZeroDivisionError):
            async with one.transaction() as tx:
                await save_all(one, [eve], tx=tx)
                repeat = asyncio.create_task(execute_all(two, moving(two, {"ann": [1], "bob": [1]}), command_id="a"))
                await wait_until_a_session_waits(tx)
                1 / int(is_kept)

        assert [one.stream_id for one in await repeat] == (["purse-eve"] if is_kept else ["purse-ann", "purse-bob"])
