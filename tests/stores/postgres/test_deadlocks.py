"""Groups and transactions of callers that wait for each other's streams."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest

from perdure import InlineProjections, Repository, execute_all, save_all
from perdure.commit import ANY
from perdure.errors import DeadlockError, OptimisticConcurrencyError, OutcomeUnknownError, StoreOverloadedError
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.repository.accounts import Account, Balances, Deposited
from tests.stores.postgres.races import notes, texts


async def in_order_of_locks(connection: asyncpg.Connection, *streams: str) -> list[str]:
    """The streams in the order in which a group locks them."""
    rows = await connection.fetch("select s from unnest($1::text[]) s order by hashtext(s)", list(streams))
    return [row["s"] for row in rows]


async def locks(connection: asyncpg.Connection, stream_id: str) -> list[bool]:
    """The locks of the stream: whether each is granted."""
    rows = await connection.fetch(
        "select granted from pg_locks where locktype = 'advisory' and objid = (hashtext($1)::int8 & 4294967295)::oid "
        "and database = (select oid from pg_database where datname = current_database())",
        stream_id,
    )
    return [row["granted"] for row in rows]


async def until_waited_for(connection: asyncpg.Connection, stream_id: str, *tasks: asyncio.Future[Any]) -> None:
    """Until somebody waits for the stream, or one of the tasks is done, which shouldn't be."""
    while all(await locks(connection, stream_id)) and not any(task.done() for task in tasks):  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.001)


@pytest.fixture
async def store(database_url: str, connection: asyncpg.Connection) -> AsyncIterator[PostgreSQLEventStore]:
    """A store whose sessions look for a deadlock at once."""
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"alter database \"{name}\" set deadlock_timeout = '10ms'")
    async with PostgreSQLEventStore(database_url) as store:
        yield store


async def lose_deadlock(
    store: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    streams: Sequence[str],
    append: Callable[[], Awaitable[Any]],
) -> Any:
    """Let `append`, which takes three streams in the order of locks, lose a deadlock with a transaction.

    Somebody else holds it up at the second stream, while it has the first. Meanwhile the transaction, which has the
    third, begins to wait for the first, and never looks for a deadlock itself. Then `append` goes on to the third.
    """
    first, second, third = streams
    gate, tx = store.transaction(), store.transaction()
    async with tx:
        await tx.connection.execute("set local deadlock_timeout = '1h'")
        await store.append_to_stream(third, ANY, notes("theirs"), tx=tx)
        async with gate:
            await store.append_to_stream(second, ANY, notes("gate"), tx=gate)
            appending = asyncio.ensure_future(append())
            await until_waited_for(connection, second, appending)
            waiting = asyncio.ensure_future(store.append_to_stream(first, ANY, notes("theirs"), tx=tx))
            await until_waited_for(connection, first, appending, waiting)
        await waiting
    return await appending


async def test_a_group_that_loses_a_deadlock_is_repeated(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    streams = await in_order_of_locks(connection, "note-a", "note-b", "note-c")
    group = [(stream, ANY, notes("group")) for stream in reversed(streams)]

    await lose_deadlock(store, connection, streams, lambda: store.append_to_streams(group))

    assert [texts(await store.read_stream(stream)) for stream in streams] == [
        ["theirs", "group"],
        ["gate", "group"],
        ["theirs", "group"],
    ]


async def test_a_group_whose_conditions_lose_a_deadlock_is_repeated(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    streams = await in_order_of_locks(connection, "note-a", "note-b", "note-c")
    first, second, third = streams

    await lose_deadlock(
        store,
        connection,
        streams,
        lambda: store.append_to_streams([(first, ANY, notes("group"))], conditions={second: ANY, third: ANY}),
    )

    assert texts(await store.read_stream(first)) == ["theirs", "group"]


async def test_aggregates_whose_append_loses_a_deadlock_are_decided_again(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    accounts = Repository(Account, store)
    streams = await in_order_of_locks(connection, "account-ann", "account-bob", "account-cid")
    names = [stream.removeprefix("account-") for stream in streams]

    async def decide() -> list[Account]:
        found = [await accounts.load(name) or Account(name) for name in names]
        for account in found:
            account.deposit(1)
        return found

    results = await lose_deadlock(store, connection, streams, lambda: execute_all(store, decide))

    # What the transactions wrote meanwhile is a conflict, so it isn't decided on stale state either.
    assert [result.stream_version for result in results] == [2, 2, 2]


async def test_an_append_whose_rows_are_kept_inline_is_repeated_too(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    streams = await in_order_of_locks(connection, "account-ann", "account-bob", "account-cid")
    group = [(stream, ANY, [Deposited(amount=1)]) for stream in streams]
    async with InlineProjections(store, [Balances()]) as inline:
        await lose_deadlock(store, connection, streams, lambda: inline.append_to_streams(group))

    assert [len(await store.read_stream(stream)) for stream in streams] == [2, 2, 2]


async def always_deadlocked(*arguments: Any, **settings: Any) -> Any:
    raise asyncpg.DeadlockDetectedError("deadlock detected")


async def test_a_group_that_loses_deadlocks_for_too_long_is_given_up_and_nothing_written(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PostgreSQLEventStore(database_url, append_timeout=0.05) as store:
        with monkeypatch.context() as patch:
            patch.setattr(store._groups._appends, "append_group", always_deadlocked)
            with pytest.raises(StoreOverloadedError, match=r"lost deadlocks for .* s and nothing was written"):
                await store.append_to_streams([("note-a", ANY, notes("a")), ("note-b", ANY, notes("b"))])

        assert await store.read_all_events() == []


async def test_a_group_in_doubt_that_loses_deadlocks_stays_in_doubt(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[bool] = []

    async def lost_then_deadlocked(*arguments: Any, look_up: bool, **settings: Any) -> Any:
        tries.append(look_up)
        if len(tries) == 1:
            raise ConnectionResetError("cut off")
        raise asyncpg.DeadlockDetectedError("deadlock detected")

    async with PostgreSQLEventStore(database_url, append_timeout=0.2) as store:
        monkeypatch.setattr(store._groups._appends, "append_group", lost_then_deadlocked)
        with pytest.raises(OutcomeUnknownError):
            await store.append_to_streams([("note-a", ANY, notes("a")), ("note-b", ANY, notes("b"))])

    assert tries[0] is False
    assert all(tries[1:])


async def test_a_transaction_that_loses_a_deadlock_is_told_what_avoids_it_and_that_does(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    first, second, third = await in_order_of_locks(connection, "account-ann", "account-bob", "account-cid")
    accounts = {stream: Account(stream.removeprefix("account-")) for stream in (first, second, third)}
    for account in accounts.values():
        account.deposit(1)

    async def one_by_one() -> None:
        async with store.transaction() as tx:
            for stream in (first, second, third):
                await store.append_to_stream(stream, ANY, notes("ours"), tx=tx)

    async def at_once() -> None:
        async with store.transaction() as tx:
            await save_all(store, [accounts[stream] for stream in (third, first)], tx=tx)

    with pytest.raises(DeadlockError, match=r"run it again; to avoid it, .* append last, .* save_all\(\)"):
        await lose_deadlock(store, connection, [first, second, third], one_by_one)

    # Whoever is named first, the first in the order of locks is waited for, and the others aren't locked meanwhile.
    async with store.transaction() as gate:
        await store.append_to_stream(first, ANY, notes("gate"), tx=gate)
        saving = asyncio.ensure_future(at_once())
        await until_waited_for(connection, first, saving)
        assert await locks(connection, third) == []
    with pytest.raises(OptimisticConcurrencyError):
        await saving
