"""Group append: shared statements and commits, an outcome for each append."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM, STREAM_EXISTS, AppendResult
from perdure.errors import (
    DatabaseError,
    EventIdReuseError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PerdureError,
    StoreClosedError,
    StoreOverloadedError,
    StoreUnavailableError,
)
from perdure.events import NewEvent
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import (
    add_gate,
    close_gate,
    durability,
    end_sessions,
    insert,
    notes,
    open_gate,
    other_connection,
    record_durability,
    refuse,
    texts,
    until,
    until_waiting,
)


@asynccontextmanager
async def locked_stream(url: str, stream_id: str) -> AsyncIterator[None]:
    """Somebody else's open transaction that has appended to the stream."""
    async with PostgreSQLEventStore(url) as other, other.transaction() as tx:
        await other.append_to_stream(stream_id, ANY, notes("theirs"), tx=tx)
        yield


@asynccontextmanager
async def one_lane(url: str, **settings: Any) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(url, append_lanes=1, **settings) as store:
        yield store


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
async def test_a_unique_index_of_the_user_is_told_as_it_is(
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


async def test_who_finds_the_queue_full_waits_in_turn_and_is_written(
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


async def test_who_waits_too_long_before_a_full_queue_is_told_and_nothing_is_written(
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


# --- A stream that somebody else holds --------------------------------------------------------------------------------


async def test_a_locked_stream_stops_no_other_and_goes_on_in_order_when_it_is_free(database_url: str) -> None:
    async with one_lane(database_url) as store:
        async with locked_stream(database_url, "note-locked"):
            waiting = [
                asyncio.create_task(store.append_to_stream("note-locked", ANY, notes(f"ours {n}"))) for n in range(3)
            ]
            others = [store.append_to_stream(f"note-{n}", NO_STREAM, notes(n)) for n in range(5)]
            await asyncio.gather(*others)
            assert not any(task.done() for task in waiting)

        results = await asyncio.gather(*waiting)

        assert [result.stream_version for result in results] == [2, 3, 4]
        assert texts(await store.read_stream("note-locked")) == ["theirs", "ours 0", "ours 1", "ours 2"]


async def test_several_locked_streams_are_tried_now_and_then_not_all_the_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Regression: a batch of locked streams came back at once, so that it was tried in a loop at full speed.
    async with one_lane(database_url, append_timeout=0.1) as store, PostgreSQLEventStore(database_url) as other:
        tries = 0
        write = store._group._writer.write

        async def counted(*arguments: Any) -> Any:
            nonlocal tries
            tries += 1
            return await write(*arguments)

        monkeypatch.setattr(store._group._writer, "write", counted)
        async with other.transaction() as tx:
            for stream in ("note-a", "note-b"):
                await other.append_to_stream(stream, ANY, notes("theirs"), tx=tx)
            outcomes = await asyncio.gather(
                *[store.append_to_stream(stream, ANY, notes("ours")) for stream in ("note-a", "note-b")],
                return_exceptions=True,
            )

        assert [type(outcome) for outcome in outcomes] == [StoreOverloadedError] * 2
        assert 2 <= tries <= 42  # two streams, one try in 5 ms
        assert texts(await store.read_all_events()) == ["theirs", "theirs"]


async def test_a_commit_whose_stream_is_locked_holds_back_the_later_ones_of_the_stream(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The batch fails as a whole (poison), and then the first is refused the lock, which is free for the second.
    await refuse(connection)
    async with one_lane(database_url) as store:
        one = store._group._writer._one
        refused: list[Any] = []

        async def refused_once(to: Any, commit: Any, **settings: Any) -> Any:
            if not refused:
                refused.append(commit)
                return None
            return await one(to, commit, **settings)

        monkeypatch.setattr(store._group._writer, "_one", refused_once)
        outcomes = await asyncio.gather(
            *[store.append_to_stream("note-a", ANY, notes(text)) for text in ("first", "second", "poison")],
            return_exceptions=True,
        )

        assert [type(outcome) for outcome in outcomes] == [AppendResult, AppendResult, DatabaseError]
        assert texts(await store.read_stream("note-a")) == ["first", "second"]


@pytest.mark.parametrize("beside", [0, 1])
async def test_regression_04_an_insert_around_the_stream_lock_is_waited_for_and_never_taken_for_ours(
    database_url: str, connection: asyncpg.Connection, beside: int
) -> None:
    async with one_lane(database_url) as store, other_connection(database_url) as other:
        transaction = other.transaction()
        await transaction.start()
        await insert(other, "note-a", 1, "theirs")
        ours = asyncio.create_task(store.append_to_stream("note-a", NO_STREAM, notes("ours")))
        others = [
            asyncio.create_task(store.append_to_stream("note-a", ANY, notes("in one batch"))) for _ in range(beside)
        ]
        await until_waiting(connection, 1, ours)
        await transaction.commit()

        with pytest.raises(OptimisticConcurrencyError) as conflict:
            await ours
        assert [(await other).stream_version for other in others] == [2] * beside
        assert conflict.value.actual_version == 1
        assert texts(await store.read_stream("note-a")) == ["theirs"] + ["in one batch"] * beside


# --- Lost connections -------------------------------------------------------------------------------------------------


@pytest.mark.one_session
@pytest.mark.parametrize("is_written", [False, True])
async def test_regression_07_a_lost_connection_is_repeated_with_the_same_ids_and_nothing_is_written_twice(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    async with one_lane(database_url) as store:
        many = store._group._writer._appends.many
        calls = []

        async def cut_off(to: asyncpg.Connection, *arguments: Any, **settings: Any) -> Any:
            calls.append(settings["look_up"])
            if len(calls) > 1:
                return await many(to, *arguments, **settings)
            if is_written:
                await many(to, *arguments, **settings)
            await end_sessions(connection, f"pid = {to.get_server_pid()}")
            return await many(to, *arguments, **settings)

        monkeypatch.setattr(store._group._writer._appends, "many", cut_off)
        results = await asyncio.gather(
            store.append_to_stream("note-a", NO_STREAM, notes("a1", "a2")),
            store.append_to_stream("note-b", NO_STREAM, notes("b")),
            store.append_to_stream("note-a", 2, notes("a3")),
        )

        assert calls == [False, True]
        assert [result.stream_version for result in results] == [2, 1, 3]
        assert texts(await store.read_all_events()) == ["a1", "a2", "a3", "b"]


async def test_a_session_that_is_ended_in_the_middle_of_an_append_is_replaced(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    async with one_lane(database_url) as store:
        gated = asyncio.create_task(store.append_to_stream("note-a", NO_STREAM, notes("gated")))
        await until_waiting(connection)
        assert await end_sessions(connection, "wait_event_type = 'Lock'") == 1
        await until_waiting(connection)
        await open_gate(connection)

        result = await gated
        assert await store.read_stream("note-a")
        assert result.stream_version == 1


async def test_a_batch_whose_session_is_ended_is_repeated_for_those_who_still_wait(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    async with one_lane(database_url) as store:
        appends = [
            asyncio.create_task(store.append_to_stream(f"note-{n}", NO_STREAM, notes("gated"))) for n in range(3)
        ]
        await until_waiting(connection)
        appends[0].cancel()
        assert await end_sessions(connection, "wait_event_type = 'Lock'") == 1
        await until_waiting(connection)
        await open_gate(connection)

        assert [(await append).stream_version for append in appends[1:]] == [1, 1]
        assert [one.stream_id for one in await store.read_all_events()] == ["note-1", "note-2"]


async def test_appends_stay_durable_when_that_is_switched_off_behind_the_stores_back(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await record_durability(connection, "perdure.events")
    name = await connection.fetchval("select current_database()")
    await connection.execute(f'alter database "{name}" set synchronous_commit = off')
    await end_sessions(connection)

    await store.append_to_stream("note-1", NO_STREAM, notes("in a lane"))
    await store.append_to_streams([("note-2", NO_STREAM, notes("in a group"))])

    assert await store.database.fetch_value("show synchronous_commit") == "off"
    assert await durability(connection) == {"on"}


@pytest.mark.parametrize("level", ["local", "remote_write"])
async def test_another_level_of_durability_is_the_users_choice(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, level: str
) -> None:
    await record_durability(connection, "perdure.events")
    name = await connection.fetchval("select current_database()")
    await connection.execute(f'alter database "{name}" set synchronous_commit = {level}')
    await end_sessions(connection)

    await store.append_to_stream("note-1", NO_STREAM, notes("a"))

    assert await durability(connection) == {level}


async def test_an_idle_session_that_was_ended_is_replaced_unnoticed(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    for version in range(3):
        await store.append_to_stream("note-a", version, notes(version))
        await store.read_stream("note-a")
        await end_sessions(connection)

    assert await store.stream_version("note-a") == 3


async def test_an_outcome_that_stays_unknown_is_told_with_the_event_ids(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_lane(database_url, append_timeout=0.05) as store:
        events = [NewEvent(one) for one in notes("perhaps")]

        async def lost(*arguments: Any, **settings: Any) -> Any:
            raise ConnectionResetError("cut off")

        with monkeypatch.context() as patch:
            patch.setattr(store._group._writer._appends, "one", lost)
            with pytest.raises(OutcomeUnknownError) as unknown:
                await store.append_to_stream("note-a", NO_STREAM, events)

        assert unknown.value.event_ids == (events[0].metadata.event_id,)
        assert "cut off" in str(unknown.value.__cause__)
        assert (await store.append_to_stream("note-a", NO_STREAM, events)).stream_version == 1


@pytest.mark.parametrize("refusal", [None, DatabaseError("refused", "XX000")])
async def test_a_repeat_that_is_refused_leaves_the_outcome_unknown(
    database_url: str, monkeypatch: pytest.MonkeyPatch, refusal: PerdureError | None
) -> None:
    # Regression: a stream that was locked by the first try itself was told as "nothing was written".
    async with one_lane(database_url, append_timeout=0.05) as store:
        tries = []

        async def lost_then_refused(*arguments: Any, **settings: Any) -> Any:
            tries.append(settings["look_up"])
            if len(tries) == 1:
                raise ConnectionResetError("cut off")
            return refusal

        monkeypatch.setattr(store._group._writer, "_one", lost_then_refused)
        with pytest.raises(OutcomeUnknownError) as unknown:
            await store.append_to_stream("note-a", NO_STREAM, notes("perhaps"))

        assert tries[:2] == [False, True]
        assert isinstance(unknown.value.__cause__, DatabaseError if refusal else StoreOverloadedError)


async def test_a_server_that_is_down_is_told_at_once_to_each_caller(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_lane(database_url) as store:

        async def down() -> Any:
            raise StoreUnavailableError("down")

        monkeypatch.setattr(store.database, "connect", down)
        outcomes = await asyncio.gather(
            *[store.append_to_stream(f"note-{n}", ANY, notes(n)) for n in range(3)], return_exceptions=True
        )

        assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3
        assert len({id(outcome) for outcome in outcomes}) == 3
        assert await store.read_all_events() == []


@pytest.mark.one_session
async def test_a_server_that_takes_no_writes_any_more_is_told_as_such(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with one_lane(database_url) as store:
        name = await connection.fetchval("select current_database()")
        await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')

        with pytest.raises(StoreUnavailableError, match="read-only"):
            await store.append_to_stream("note-a", ANY, notes("refused"))

        await connection.execute(f'alter database "{name}" reset default_transaction_read_only')
        assert (await store.append_to_stream("note-a", ANY, notes("fine"))).stream_version == 1


async def test_an_error_that_nobody_foresaw_is_told_to_the_callers_and_the_lane_goes_on(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*arguments: Any, **settings: Any) -> Any:
        raise LookupError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(store._group._writer._appends, "one", broken)
        with pytest.raises(OutcomeUnknownError) as unknown:
            await store.append_to_stream("note-a", ANY, notes("perhaps"))

    assert isinstance(unknown.value.__cause__, LookupError)
    assert (await store.append_to_stream("note-a", ANY, notes("fine"))).stream_version == 1


async def test_an_error_that_cant_be_copied_is_told_to_each_caller_and_the_lane_goes_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StubbornError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("stubborn")

    async def stubborn() -> Any:
        raise StubbornError(1, 2)

    async with one_lane(database_url) as store:
        with monkeypatch.context() as patch:
            patch.setattr(store.database, "connect", stubborn)
            outcomes = await asyncio.gather(
                *[store.append_to_stream(f"note-{n}", ANY, notes(n)) for n in range(3)], return_exceptions=True
            )

        assert [type(outcome) for outcome in outcomes] == [StubbornError] * 3
        store.check_alive()
        assert (await store.append_to_stream("note-a", ANY, notes("fine"))).stream_version == 1


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
