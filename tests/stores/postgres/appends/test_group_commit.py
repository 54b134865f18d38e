"""Group commit: shared statements and commits, an outcome for each append."""

import asyncio

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM, STREAM_EXISTS, AppendResult
from perdure.errors import (
    DatabaseError,
    EventIdReuseError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    StoreClosedError,
    StoreOverloadedError,
)
from perdure.events import NewEvent
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.appends.lanes import one_lane
from tests.stores.postgres.races import (
    add_gate,
    close_gate,
    notes,
    open_gate,
    refuse,
    texts,
    until,
    until_waiting,
)


async def transactions(connection: asyncpg.Connection) -> int:
    """How many transactions have written events: each commit has an xmin of its own."""
    return int(await connection.fetchval("select count(distinct xmin::text) from perdure.events"))


async def test_appends_of_one_moment_share_a_commit_and_each_has_its_own_outcome(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with one_lane(database_url) as store:
        known = [NewEvent(one) for one in notes("known")]
        await store.append_to_stream("note-known", NO_STREAM, known)
        outcomes = await asyncio.gather(
            store.append_to_stream("note-a", NO_STREAM, notes("a1", "a2")),
            store.append_to_stream("note-a", 2, notes("a3")),
            store.append_to_stream("note-a", 2, notes("too late")),
            store.append_to_stream("note-b", STREAM_EXISTS, notes("no such stream")),
            store.append_to_stream("note-b", ANY, notes("b1")),
            store.append_to_stream("note-b", STREAM_EXISTS, notes("b2")),
            store.append_to_stream("note-known", NO_STREAM, known),
            store.append_to_stream("note-c", 1, known),
            return_exceptions=True,
        )

        assert await transactions(connection) == 2
        assert [texts(await store.read_stream(f"note-{x}")) for x in "abc"] == [["a1", "a2", "a3"], ["b1", "b2"], []]

    assert outcomes[0] == AppendResult("note-a", 2, (2, 3))
    assert outcomes[1] == AppendResult("note-a", 3, (4,))
    assert isinstance(outcomes[2], OptimisticConcurrencyError)
    assert outcomes[2].actual_version == 3
    assert isinstance(outcomes[3], OptimisticConcurrencyError)
    assert outcomes[3].actual_version == 0
    assert outcomes[4] == AppendResult("note-b", 1, (5,))
    assert outcomes[5] == AppendResult("note-b", 2, (6,))
    assert outcomes[6] == AppendResult("note-known", 1, (1,))
    assert isinstance(outcomes[7], EventIdReuseError)


async def test_a_poison_event_fails_only_its_own_append(database_url: str, connection: asyncpg.Connection) -> None:
    await refuse(connection, "poison")
    async with one_lane(database_url) as store:
        outcomes = await asyncio.gather(
            store.append_to_stream("note-a", ANY, notes("a1")),
            store.append_to_stream("note-a", ANY, notes("fine", "poison")),
            store.append_to_stream("note-a", ANY, notes("a2")),
            store.append_to_stream("note-b", ANY, notes("b1")),
            return_exceptions=True,
        )

        assert isinstance(outcomes[1], DatabaseError)
        assert outcomes[1].sqlstate == "23514"
        assert [type(outcome) for outcome in outcomes if outcome is not outcomes[1]] == [AppendResult] * 3
        assert texts(await store.read_stream("note-a")) == ["a1", "a2"]
        assert texts(await store.read_all_events()) == ["a1", "a2", "b1"]


@pytest.mark.parametrize("together", [False, True])
async def test_a_violated_unique_index_of_the_user_is_reported_as_it_is(
    database_url: str, connection: asyncpg.Connection, together: bool
) -> None:
    # Regression: taken for ids that are known, it was tried again and again, and told as a locked stream.
    await connection.execute("create unique index one_text on perdure.events ((event_data->>'text'))")
    async with one_lane(database_url) as store:
        await store.append_to_stream("note-a", ANY, notes("once"))
        outcomes = await asyncio.gather(
            store.append_to_stream("note-b", ANY, notes("once")),
            *[store.append_to_stream("note-c", ANY, notes("other")) for _ in range(together)],
            return_exceptions=True,
        )

    assert isinstance(outcomes[0], DatabaseError)
    assert outcomes[0].sqlstate == "23505"
    assert all(isinstance(outcome, AppendResult) for outcome in outcomes[1:])


async def test_regression_04_each_of_many_parallel_appends_that_report_success_is_there(
    store: PostgreSQLEventStore,
) -> None:
    results = await asyncio.gather(*[store.append_to_stream("note-a", ANY, notes(n)) for n in range(40)])

    stored = {one.global_position: one.stream_version for one in await store.read_stream("note-a")}
    assert {result.global_position: result.stream_version for result in results} == stored
    assert len(stored) == 40


async def test_the_same_append_twice_at_once_is_written_once_and_both_get_its_result(
    store: PostgreSQLEventStore,
) -> None:
    for expected in (ANY, NO_STREAM):
        stream_id = f"note-{expected}"
        events = [NewEvent(one) for one in notes("once", "and once more")]
        others = [store.append_to_stream(f"note-other-{n}", ANY, notes(n)) for n in range(3)]

        first, second, third, *_ = await asyncio.gather(
            *[store.append_to_stream(stream_id, expected, events) for _ in range(3)], *others
        )

        assert first == second == third
        assert texts(await store.read_stream(stream_id)) == ["once", "and once more"]


async def test_the_same_event_in_two_streams_at_once_is_written_in_one(store: PostgreSQLEventStore) -> None:
    event = NewEvent(notes("once")[0])

    outcomes = await asyncio.gather(
        *[store.append_to_stream(f"note-{n}", ANY, [event]) for n in range(4)], return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AppendResult"] + ["EventIdReuseError"] * 3
    assert len(await store.read_all_events()) == 1


async def test_one_stream_keeps_the_order_of_calls(store: PostgreSQLEventStore) -> None:
    await asyncio.gather(*[store.append_to_stream("note-a", ANY, notes(n)) for n in range(1_000)])

    assert texts(await store.read_stream("note-a")) == [str(n) for n in range(1_000)]


# --- Cancellation -----------------------------------------------------------------------------------------------------


async def test_an_append_that_is_cancelled_while_queued_is_not_written(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    async with one_lane(database_url) as store:
        under_way = asyncio.create_task(store.append_to_stream("note-a", ANY, notes("gated")))
        await until_waiting(connection)
        queued = asyncio.create_task(store.append_to_stream("note-b", ANY, notes("cancelled")))
        held = asyncio.create_task(store.append_to_stream("note-a", ANY, notes("cancelled")))
        await until(lambda: store._group._queue.ready == 2)

        queued.cancel()
        held.cancel()
        await open_gate(connection)
        await under_way
        await store.append_to_stream("note-b", ANY, notes("later"))

        assert texts(await store.read_all_events()) == ["gated", "later"]


async def test_an_append_that_is_cancelled_when_sent_may_be_written_and_saving_again_is_safe(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    async with one_lane(database_url) as store:
        events = [NewEvent(one) for one in notes("gated")]
        sent = asyncio.create_task(store.append_to_stream("note-a", NO_STREAM, events))
        await until_waiting(connection)
        sent.cancel()
        await asyncio.wait([sent])
        await open_gate(connection)

        again = await store.append_to_stream("note-a", NO_STREAM, events)

        assert sent.cancelled()
        assert again == AppendResult("note-a", 1, (1,))
        assert len(await store.read_all_events()) == 1


# --- Backpressure -----------------------------------------------------------------------------------------------------


async def test_appends_of_one_moment_are_shared_among_the_lanes(
    database_url: str, connection: asyncpg.Connection
) -> None:
    # Regression: each append woke a lane, and the first of them took everything. As those who wait for one batch append
    # again in one moment, the other lanes were idle for ever.
    await add_gate(connection)
    await close_gate(connection)
    async with PostgreSQLEventStore(database_url, append_lanes=2) as store:
        appends = [asyncio.create_task(store.append_to_stream(f"note-{n}", ANY, notes("gated"))) for n in range(5)]
        await until_waiting(connection, 2)

        assert sorted(len(lane.batch) for lane in store._group._lanes) == [2, 3]
        await open_gate(connection)
        await asyncio.gather(*appends)


async def test_appends_that_find_the_queue_full_wait_in_order_and_are_written(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    async with one_lane(database_url, queue_events=2) as store:
        appends = [asyncio.create_task(store.append_to_stream("note-a", ANY, notes("gated")))]
        await until_waiting(connection)
        appends += [asyncio.create_task(store.append_to_stream("note-a", ANY, notes(n))) for n in range(5)]
        await until(lambda: store._group._queue.without_room == 4)

        await open_gate(connection)
        await asyncio.gather(*appends)

        assert texts(await store.read_stream("note-a")) == ["gated", "0", "1", "2", "3", "4"]


async def test_an_append_that_waits_too_long_for_room_in_the_queue_raises_an_error_and_nothing_is_written(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    async with one_lane(database_url, queue_events=1, append_timeout=0.05) as store:
        inside = asyncio.create_task(store.append_to_stream("note-a", ANY, notes("gated")))
        await until(lambda: any(store._group._under_way()))

        with pytest.raises(StoreOverloadedError, match="queue of appends was full"):
            await store.append_to_stream("note-b", ANY, notes("refused"))
        await open_gate(connection)
        await asyncio.wait([inside])

        assert "refused" not in texts(await store.read_all_events())


# --- Closing ----------------------------------------------------------------------------------------------------------


async def test_closing_writes_what_is_queued_and_refuses_what_comes_later(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    store = PostgreSQLEventStore(database_url, append_lanes=1, queue_events=3)
    await store.open()
    appends = [
        asyncio.create_task(store.append_to_stream("note-a", ANY, notes(text)))
        for text in ("gated", "queued", "before the room", "before the room")
    ]
    await until_waiting(connection)
    closing = asyncio.create_task(store.close())
    await until(lambda: store._group._drained is not None)

    with pytest.raises(StoreClosedError):
        await store.append_to_stream("note-a", ANY, notes("too late"))
    await open_gate(connection)
    await closing

    assert [(await append).stream_version for append in appends] == [1, 2, 3, 4]
    with pytest.raises(StoreClosedError):
        await store.append_to_stream("note-a", ANY, notes("too late"))


async def test_closing_tells_the_callers_what_became_of_the_rest_when_time_is_up(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    store = PostgreSQLEventStore(database_url, append_lanes=1, queue_events=3, close_timeout=0.01)
    await store.open()
    appends = [asyncio.create_task(store.append_to_stream("note-a", ANY, notes("gated")))]
    await until_waiting(connection)
    appends += [asyncio.create_task(store.append_to_stream("note-a", ANY, notes(n))) for n in range(3)]
    await until(lambda: store._group._queue.without_room == 1)

    await store.close()
    outcomes = await asyncio.gather(*appends, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknownError] + [StoreClosedError] * 3
