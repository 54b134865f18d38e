"""Two processes on one stream: the check of the version and the write are one step, under the stream's lock."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from perdure.commit import ANY, AppendResult
from perdure.errors import OptimisticConcurrencyError
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import add_gate, close_gate, notes, open_gate, texts, until_waiting


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    """Another process's store on the same database, as far as the stores can tell."""
    async with PostgreSQLEventStore(database_url) as store:
        yield store


@pytest.mark.parametrize("there", [0, 1])
async def test_regression_06_no_append_comes_between_the_check_and_the_write_of_another(
    store: PostgreSQLEventStore, other: PostgreSQLEventStore, connection: asyncpg.Connection, there: int
) -> None:
    for version in range(there):
        await store.append_to_stream("note-1", version, notes("before"))
    await add_gate(connection)
    await close_gate(connection)
    first = asyncio.create_task(store.append_to_stream("note-1", there, notes("gated")))  # has checked, can't write yet
    await until_waiting(connection)
    second = asyncio.create_task(other.append_to_stream("note-1", there, notes("second")))
    await until_waiting(connection, 2, second)
    await open_gate(connection)

    assert (await first).stream_version == there + 1
    with pytest.raises(OptimisticConcurrencyError) as conflict:
        await second
    assert conflict.value.actual_version == there + 1
    assert texts(await store.read_stream("note-1", there)) == ["gated"]


async def test_regression_02_the_version_is_read_after_the_stream_is_locked(
    store: PostgreSQLEventStore, other: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    # Whoever waits for the stream must see what was committed meanwhile: a version from before the wait is a lie.
    async def append_in_transaction(expected: int) -> AppendResult:
        async with other.transaction() as tx:
            await tx.connection.execute("select count(*) from perdure.events")
            return await other.append_to_stream("note-1", expected, notes(f"expected {expected}"), tx=tx)

    async with store.transaction() as tx:
        await store.append_to_stream("note-1", ANY, notes("ours"), tx=tx)
        waiting = [asyncio.create_task(append_in_transaction(expected)) for expected in (0, 1)]
        await until_waiting(connection, 2, *waiting)
    stale, fresh = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(stale, OptimisticConcurrencyError)
    assert isinstance(fresh, AppendResult)
    assert fresh.stream_version == 2
