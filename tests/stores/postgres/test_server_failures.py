"""A server that lacks something, or ends itself: followers wait it out, and what was sent may be written."""

import asyncio
from typing import Any

import asyncpg
import pytest

from perdure.commit import NO_STREAM
from perdure.errors import OutcomeUnknownError, StoreUnavailableError
from perdure.events import NewEvent
from perdure.stores.postgres.connections.pool import Pool
from perdure.stores.postgres.driver_errors import translated_errors
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import notes, texts


def error_of(cls: type[asyncpg.PostgresError], severity: str) -> asyncpg.PostgresError:
    """As the server sends it."""
    error = cls("could not write to file: No space left on device")
    error.severity_en = severity  # as the driver does when it reads the message
    return error


@pytest.fixture
def panics(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The next commit is written, and then the server panics: it could not make another file for its log."""
    done: list[str] = []
    execute = asyncpg.Connection.execute

    def panicking(fetch: Any) -> Any:
        async def run(self: asyncpg.Connection, sql: str, *arguments: Any, **settings: Any) -> Any:
            answer = await fetch(self, sql, *arguments, **settings)
            if "append_" in sql and not self.is_in_transaction() and not done:
                done.append(sql)
                raise error_of(asyncpg.DiskFullError, "PANIC")
            return answer

        return run

    async def run(self: asyncpg.Connection, sql: str, *arguments: Any, **settings: Any) -> Any:
        status = await execute(self, sql, *arguments, **settings)
        if sql == "COMMIT;" and not done:
            done.append(sql)
            raise error_of(asyncpg.DiskFullError, "PANIC")
        return status

    for name in ("fetchrow", "fetchval"):
        monkeypatch.setattr(asyncpg.Connection, name, panicking(getattr(asyncpg.Connection, name)))
    monkeypatch.setattr(asyncpg.Connection, "execute", run)
    return done


async def test_an_append_at_which_the_server_panics_is_in_doubt_and_repeated(
    store: PostgreSQLEventStore, panics: list[str]
) -> None:
    # Regression: it was told as "nothing was written".
    result = await store.append_to_stream("note-a", NO_STREAM, notes("a"))

    assert (len(panics), result.stream_version) == (1, 1)
    assert texts(await store.read_all_events()) == ["a"]


async def test_a_batch_at_which_the_server_panics_is_in_doubt_and_repeated(
    store: PostgreSQLEventStore, panics: list[str]
) -> None:
    results = await asyncio.gather(*[store.append_to_stream(f"note-{n}", NO_STREAM, notes(n)) for n in range(4)])

    assert (len(panics), {result.stream_version for result in results}) == (1, {1})
    assert sorted(texts(await store.read_all_events())) == ["0", "1", "2", "3"]


async def test_a_group_at_which_the_server_panics_is_in_doubt_and_repeated(
    store: PostgreSQLEventStore, panics: list[str]
) -> None:
    results = await store.append_to_streams([("note-a", NO_STREAM, notes("a")), ("note-b", NO_STREAM, notes("b"))])

    assert (len(panics), [result.stream_version for result in results]) == (1, [1, 1])
    assert texts(await store.read_all_events()) == ["a", "b"]


async def test_a_transaction_at_whose_commit_the_server_panics_is_in_doubt(
    store: PostgreSQLEventStore, panics: list[str]
) -> None:
    events = [NewEvent(one) for one in notes("a")]
    with pytest.raises(OutcomeUnknownError) as unknown:
        async with store.transaction() as tx:
            await store.append_to_stream("note-a", NO_STREAM, events, tx=tx)

    assert unknown.value.event_ids == (events[0].metadata.event_id,)
    assert (await store.append_to_stream("note-a", NO_STREAM, events)).stream_version == 1


@pytest.mark.parametrize("cls", [asyncpg.DiskFullError, asyncpg.OutOfMemoryError, asyncpg.PostgresIOError])
async def test_a_server_that_lacks_something_is_unavailable(cls: type[asyncpg.PostgresError]) -> None:
    with pytest.raises(StoreUnavailableError, match="No space left"), translated_errors():
        raise error_of(cls, "ERROR")


async def test_a_follower_waits_out_a_server_whose_disk_is_full(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Regression: it was ended by the error, for good.
    acquire = Pool.acquire
    refused: list[str] = []

    async def refuse(self: Pool, patience: float) -> Any:
        if not refused:
            refused.append("a session can't begin: it can't write its files")
            raise error_of(asyncpg.DiskFullError, "FATAL")
        return await acquire(self, patience)

    await store.append_to_stream("note-a", NO_STREAM, notes("a"))
    monkeypatch.setattr(Pool, "acquire", refuse)
    async for stored in store.subscribe():
        assert stored.stream_id == "note-a"
        break

    assert refused
