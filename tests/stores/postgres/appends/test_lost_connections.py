"""Appends whose connection is lost, or can't be made."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM
from perdure.errors import (
    DatabaseError,
    OutcomeUnknownError,
    PerdureError,
    StoreOverloadedError,
    StoreUnavailableError,
)
from perdure.events import NewEvent
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.appends.lanes import one_lane
from tests.stores.postgres.races import (
    add_gate,
    close_gate,
    durability,
    end_sessions,
    notes,
    open_gate,
    record_durability,
    texts,
    until,
    until_waiting,
)


@pytest.mark.one_session
@pytest.mark.parametrize("is_written", [False, True])
async def test_regression_07_a_lost_connection_is_repeated_with_the_same_ids_and_nothing_is_written_twice(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    async with one_lane(database_url) as store:
        many = store._group._writer._appends.append_batch
        calls = []

        async def cut_off(to: asyncpg.Connection, *arguments: Any, **settings: Any) -> Any:
            calls.append(settings["look_up"])
            if len(calls) > 1:
                return await many(to, *arguments, **settings)
            if is_written:
                await many(to, *arguments, **settings)
            await end_sessions(connection, f"pid = {to.get_server_pid()}")
            return await many(to, *arguments, **settings)

        monkeypatch.setattr(store._group._writer._appends, "append_batch", cut_off)
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


async def test_a_batch_whose_session_is_ended_is_repeated_for_the_callers_that_still_wait(
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


def are_over(connections: list[Any]) -> Callable[[], bool]:
    return lambda: all(one is None or one.is_closed() for one in connections)


async def test_an_idle_session_that_was_ended_is_replaced_unnoticed(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    for version in range(3):
        await store.append_to_stream("note-a", version, notes(version))
        await store.read_stream("note-a")
        assert store.database._pool is not None
        ended = [*store.database._pool._generations, *[lane.connection for lane in store._group._lanes]]
        await end_sessions(connection)
        # The last words of a session may be here before its end is, and then it can't be told from a good one.
        await until(are_over(ended))

    assert await store.stream_version("note-a") == 3


async def test_an_outcome_that_stays_unknown_is_reported_with_the_event_ids(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_lane(database_url, append_timeout=0.05) as store:
        events = [NewEvent(one) for one in notes("perhaps")]

        async def lost(*arguments: Any, **settings: Any) -> Any:
            raise ConnectionResetError("cut off")

        with monkeypatch.context() as patch:
            patch.setattr(store._group._writer._appends, "append_commit", lost)
            with pytest.raises(OutcomeUnknownError) as unknown:
                await store.append_to_stream("note-a", NO_STREAM, events)

        assert unknown.value.event_ids == (events[0].metadata.event_id,)
        assert "cut off" in str(unknown.value.__cause__)
        assert (await store.append_to_stream("note-a", NO_STREAM, events)).stream_version == 1


@pytest.mark.parametrize("refusal", [None, DatabaseError("refused", "XX000")])
async def test_a_repeat_that_is_refused_leaves_the_outcome_unknown(
    database_url: str, monkeypatch: pytest.MonkeyPatch, refusal: PerdureError | None
) -> None:
    # Regression: a stream that was locked by the first attempt itself was reported as "nothing was written".
    async with one_lane(database_url) as store:
        tries = []

        async def lost_then_refused(*arguments: Any, **settings: Any) -> Any:
            tries.append(settings["look_up"])
            if len(tries) == 1:
                raise ConnectionResetError("cut off")
            for queued in store._group._under_way():
                queued.deadline = 0.0  # its time is up
            return refusal

        monkeypatch.setattr(store._group._writer, "_one", lost_then_refused)
        with pytest.raises(OutcomeUnknownError) as unknown:
            await store.append_to_stream("note-a", NO_STREAM, notes("perhaps"))

        assert tries[:2] == [False, True]
        assert isinstance(unknown.value.__cause__, DatabaseError if refusal else StoreOverloadedError)


async def test_a_server_that_is_down_raises_an_error_in_each_caller_at_once(
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
async def test_a_server_that_takes_no_writes_any_more_is_reported_as_such(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with one_lane(database_url) as store:
        name = await connection.fetchval("select current_database()")
        await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')

        with pytest.raises(StoreUnavailableError, match="read-only"):
            await store.append_to_stream("note-a", ANY, notes("refused"))

        await connection.execute(f'alter database "{name}" reset default_transaction_read_only')
        assert (await store.append_to_stream("note-a", ANY, notes("fine"))).stream_version == 1


async def test_an_unforeseen_error_reaches_the_callers_and_the_lane_goes_on(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*arguments: Any, **settings: Any) -> Any:
        raise LookupError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(store._group._writer._appends, "append_commit", broken)
        with pytest.raises(OutcomeUnknownError) as unknown:
            await store.append_to_stream("note-a", ANY, notes("perhaps"))

    assert isinstance(unknown.value.__cause__, LookupError)
    assert (await store.append_to_stream("note-a", ANY, notes("fine"))).stream_version == 1


async def test_an_error_that_cant_be_copied_reaches_each_caller_and_the_lane_goes_on(
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
