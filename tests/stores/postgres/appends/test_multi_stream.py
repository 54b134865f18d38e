"""Appends to several streams at once: locked streams, lost connections, and transactions of callers."""

import asyncio
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM
from perdure.errors import (
    DatabaseError,
    DomainError,
    EventIdReuseError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    StoreClosedError,
    StoreOverloadedError,
    StoreUnavailableError,
)
from perdure.stores.postgres.connections.pool import Pool
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.appends.lanes import locked_stream
from tests.stores.postgres.races import (
    add_gate,
    close_gate,
    end_sessions,
    group,
    insert,
    notes,
    open_gate,
    other_connection,
    refuse,
    texts,
    until_waiting,
)


async def lost(*arguments: Any, **settings: Any) -> Any:
    raise ConnectionResetError("cut off")


async def test_a_group_waits_for_a_stream_and_goes_on(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    async with locked_stream(database_url, "note-b"):
        appending = asyncio.create_task(store.append_to_streams(group("note-a", "note-b", "note-c")))
        await until_waiting(connection)
        assert await store.read_all_events() == []

    assert [one.stream_version for one in await appending] == [1, 2, 1]
    assert texts(await store.read_all_events()) == ["theirs", "group", "group", "group"]


@pytest.mark.parametrize("is_condition", [False, True])
async def test_a_stream_that_stays_locked_is_an_error_and_nothing_is_written(
    database_url: str, is_condition: bool
) -> None:
    async with PostgreSQLEventStore(database_url, append_timeout=0.05) as store:
        async with locked_stream(database_url, "note-b"):
            with pytest.raises(StoreOverloadedError, match=r"locked for 0\.05 s and nothing was written"):
                await store.append_to_streams(
                    group("note-a", "note-c") if is_condition else group("note-a", "note-b"),
                    conditions={"note-b": 0} if is_condition else {},
                )

        assert texts(await store.read_all_events()) == ["theirs"]
        await store.append_to_streams(group("note-a", "note-b"))


# --- Connections that are lost ----------------------------------------------------------------------------------------


async def test_a_group_whose_session_is_ended_while_it_waits_is_repeated_with_the_same_ids(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, database_url: str
) -> None:
    appends = group("note-a", "note-b")
    async with locked_stream(database_url, "note-b"):
        appending = asyncio.create_task(store.append_to_streams(appends))
        await until_waiting(connection)
        assert await end_sessions(connection, "wait_event_type = 'Lock'") == 1
        await until_waiting(connection)

    first = await appending
    assert await store.append_to_streams(appends) == first
    assert texts(await store.read_all_events()) == ["theirs", "group", "group"]


async def test_a_group_that_was_written_before_the_connection_was_lost_is_found_by_its_ids(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    append = store._groups._appends.append_group

    async def cut_off(*arguments: Any, look_up: bool, **settings: Any) -> Any:
        calls.append(look_up)
        result = await append(*arguments, look_up=look_up, **settings)
        if len(calls) == 1:
            raise ConnectionResetError("cut off")
        return result

    monkeypatch.setattr(store._groups._appends, "append_group", cut_off)
    results = await store.append_to_streams(group("note-a", "note-b"))

    assert calls == [False, True]
    assert [one.stream_version for one in results] == [1, 1]
    assert texts(await store.read_all_events()) == ["group", "group"]


async def test_an_outcome_that_stays_unknown_is_reported_with_all_event_ids(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PostgreSQLEventStore(database_url, append_timeout=0.05) as store:
        appends = group("note-a", "note-b")
        with monkeypatch.context() as patch:
            patch.setattr(store._groups._appends, "append_group", lost)
            with pytest.raises(OutcomeUnknownError) as unknown:
                await store.append_to_streams(appends)

        assert unknown.value.event_ids == tuple(events[0].metadata.event_id for _, _, events in appends)
        await store.append_to_streams(appends)
        assert texts(await store.read_all_events()) == ["group", "group"]


@pytest.mark.parametrize(
    "refusal",
    [StoreOverloadedError("locked", 1), DatabaseError("refused", "XX000"), StoreClosedError(), asyncpg.DataError("no")],
    ids=lambda one: type(one).__name__,
)
async def test_a_repeat_that_is_refused_leaves_the_outcome_unknown(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    # Regression: the locks of the first try itself were reported as "nothing was written".
    tries: list[bool] = []

    async def lost_then_refused(*arguments: Any, look_up: bool, **settings: Any) -> Any:
        tries.append(look_up)
        raise ConnectionResetError("cut off") if len(tries) == 1 else refusal

    monkeypatch.setattr(store._groups._appends, "append_group", lost_then_refused)
    with pytest.raises(OutcomeUnknownError):
        await store.append_to_streams(group("note-a", "note-b"))

    assert tries == [False, True]


async def test_a_server_that_is_down_for_the_first_attempt_is_an_error_and_for_a_repeat_is_waited_for(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire, group_of = Pool.acquire, store._groups._appends.append_group
    calls: list[str] = []

    async def down(self: Pool, patience: float) -> Any:
        calls.append("acquire")
        if len(calls) == 3:
            raise StoreUnavailableError("down")
        return await acquire(self, patience)

    async def lost_once(*arguments: Any, **settings: Any) -> Any:
        calls.append("append")
        if len(calls) == 2:
            raise ConnectionResetError("cut off")
        return await group_of(*arguments, **settings)

    monkeypatch.setattr(Pool, "acquire", down)
    monkeypatch.setattr(store._groups._appends, "append_group", lost_once)
    await store.append_to_streams(group("note-a", "note-b"))
    assert calls == ["acquire", "append", "acquire", "acquire", "append"]

    calls[:] = ["", ""]
    with pytest.raises(StoreUnavailableError, match="down"):
        await store.append_to_streams(group("note-a", "note-b"))


@pytest.mark.one_session
async def test_a_server_that_takes_no_writes_any_more_is_reported_at_once(
    database_url: str, connection: asyncpg.Connection
) -> None:
    name = await connection.fetchval("select current_database()")
    async with PostgreSQLEventStore(database_url) as store:
        await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
        with pytest.raises(StoreUnavailableError, match="read-only"):
            await store.append_to_streams(group("note-a", "note-b"))


async def test_what_the_database_refuses_takes_the_whole_group_with_it(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await refuse(connection)

    with pytest.raises(DatabaseError) as refused:
        await store.append_to_streams([*group("note-a"), ("note-b", ANY, notes("poison"))])

    assert refused.value.sqlstate == "23514"
    assert await store.read_all_events() == []


async def test_an_insert_around_the_locks_is_met_and_the_group_goes_on(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    # The gate holds the group between its look at the versions and its insert.
    await add_gate(connection)
    await close_gate(connection)
    appending = asyncio.create_task(store.append_to_streams(group("note-a", "note-b", text="gated")))
    await until_waiting(connection)
    await insert(connection, "note-b", 1, "intruder")
    await open_gate(connection)

    assert [one.stream_version for one in await appending] == [1, 2]
    assert texts(await store.read_all_events()) == ["intruder", "gated", "gated"]


# --- In the caller's transaction --------------------------------------------------------------------------------------


async def test_in_a_transaction_a_group_is_committed_with_the_callers_own_statements(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await connection.execute("create table outbox (text text)")
    count = store.changes.count
    async with store.transaction() as tx:
        await tx.connection.execute("insert into outbox values ('sent')")
        first = await store.append_to_streams(group("note-b", "note-a"), tx=tx)
        second = await store.append_to_streams([("note-a", 1, notes("more"))], conditions={"note-b": 1}, tx=tx)
        async with other_connection(store.database._url) as other:
            assert await other.fetchval("select count(*) from perdure.events") == 0
        assert store.changes.count == count

    assert store.changes.count == count + 1
    assert [one.stream_version for one in [*first, *second]] == [1, 1, 2]
    assert texts(await store.read_all_events()) == ["group", "group", "more"]
    assert await connection.fetchval("select count(*) from outbox") == 1


async def test_a_rollback_takes_the_group_with_it(store: PostgreSQLEventStore) -> None:
    with pytest.raises(DomainError):
        async with store.transaction() as tx:
            await store.append_to_streams(group("note-a", "note-b"), tx=tx)
            raise DomainError("no")

    assert await store.read_all_events() == []


async def test_a_conflict_of_a_group_leaves_the_callers_transaction_usable(store: PostgreSQLEventStore) -> None:
    known = group("note-a", "note-b", text="known")
    await store.append_to_streams(known)

    async with store.transaction() as tx:
        with pytest.raises(OptimisticConcurrencyError) as conflict:
            await store.append_to_streams([("note-c", NO_STREAM, notes("c")), ("note-b", 0, notes("b"))], tx=tx)
        with pytest.raises(EventIdReuseError):
            await store.append_to_streams([*known, *group("note-c")], tx=tx)
        repeated = await store.append_to_streams(known, tx=tx)
        await store.append_to_streams(group("note-c", text="new"), tx=tx)

    assert (conflict.value.stream_id, conflict.value.actual_version) == ("note-b", 1)
    assert [one.stream_version for one in repeated] == [1, 1]
    assert texts(await store.read_all_events()) == ["known", "known", "new"]


async def test_a_group_that_is_under_way_when_the_store_closes_is_unknown_or_written(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    store = PostgreSQLEventStore(database_url)
    await store.open()
    appending = asyncio.create_task(store.append_to_streams(group("note-a", "note-b", text="gated")))
    await until_waiting(connection)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreClosedError):
        await store.append_to_streams(group("note-c"))
    await open_gate(connection)
    await closing

    assert [one.stream_version for one in await appending] == [1, 1]


async def test_a_group_meets_an_insert_around_its_locks_more_than_once(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, tries = store._groups._appends.append_group, 0

    async def met(*arguments: Any, **settings: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries <= 3:
            error = asyncpg.UniqueViolationError("somebody was faster")
            error.constraint_name = "events_stream_version"
            raise error
        return await append(*arguments, **settings)

    monkeypatch.setattr(store._groups._appends, "append_group", met)
    [result] = await store.append_to_streams([("note-1", 0, notes("a"))])

    assert (result.stream_version, tries) == (1, 4)
