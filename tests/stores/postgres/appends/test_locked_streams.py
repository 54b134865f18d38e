"""Appends to streams that another transaction has locked."""

import asyncio
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM, AppendResult
from perdure.errors import (
    DatabaseError,
    OptimisticConcurrencyError,
    StoreOverloadedError,
)
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.appends.lanes import locked_stream, one_lane
from tests.stores.postgres.races import (
    insert,
    notes,
    other_connection,
    refuse,
    texts,
    until_waiting,
)


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
        assert tries <= 42  # two streams, one try in 5 ms
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
