"""Repeats on PostgreSQL: texts are compared by the database, contents by the task that appends."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from perdure import upcast
from perdure.commit import ANY, NO_STREAM, AppendResult, Commit, EncodedEvent
from perdure.errors import EventIdReuseError
from perdure.events import NewEvent, event
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.conformance.samples import Counted
from tests.stores.postgres.appends.lanes import one_lane
from tests.stores.postgres.races import Noted, end_sessions, notes, other_connection, texts

METADATA = '{"timestamp":"2020-01-01T00:00:00Z"}'
COUNTED = "perdure.conformance.counted"
upcasting_tasks: list[asyncio.Task[Any] | None] = []


@event("repeats.watched", version=2)
class Watched:
    number: int


@upcast("repeats.watched", from_version=1)
def remember_the_task(data: dict[str, Any]) -> dict[str, Any]:
    upcasting_tasks.append(asyncio.current_task())
    return {"number": int(data["number"])}


async def append_raw(store: PostgreSQLEventStore, stream_id: str, name: str, version: int, data: str) -> UUID:
    """Append an event as other code would have, and return its id."""
    raw = EncodedEvent(uuid4(), name, version, data, METADATA)
    await store.append(Commit(stream_id, ANY, (raw,), len(data)))
    return raw.event_id


async def test_in_a_batch_each_repeat_has_its_own_outcome(database_url: str) -> None:
    async with one_lane(database_url) as store:
        a, b, c = [NewEvent(one) for one in notes("a", "b", "c")]
        for stream_id, one in (("note-a", a), ("note-b", b), ("note-c", c)):
            await store.append_to_stream(stream_id, NO_STREAM, [one])
        old = await append_raw(store, "count-1", COUNTED, 1, '{"count":"1"}')
        await store.append_to_stream("note-e", NO_STREAM, notes("e"), append_id="e")

        outcomes = await asyncio.gather(
            store.append_to_stream("note-a", ANY, [a]),
            store.append_to_stream("note-b", ANY, [NewEvent(Noted(text="other"), event_id=b.event_id)]),
            store.append_to_stream("note-c", 7, [c]),
            store.append_to_stream("note-d", NO_STREAM, notes("d")),
            store.append_to_stream("count-1", 0, [NewEvent(Counted(number=1), event_id=old)]),
            store.append_to_stream("count-1", ANY, [NewEvent(Counted(number=2), event_id=old)]),
            store.append_to_stream("note-e", 5, notes("of", "another", "number"), append_id="e"),
            return_exceptions=True,
        )

        assert [one.stream_id if isinstance(one, AppendResult) else type(one) for one in outcomes] == [
            "note-a", EventIdReuseError, "note-c", "note-d", "count-1", EventIdReuseError, "note-e",
        ]  # fmt: skip
        assert [one.stream_version for one in outcomes if isinstance(one, AppendResult)] == [1] * 5
        assert len(await store.read_all_events()) == 6


async def test_a_repeat_with_the_same_text_is_not_read(
    store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [NewEvent(one) for one in notes("a", "b")]
    first = await store.append_to_stream("note-1", NO_STREAM, events)
    monkeypatch.setattr(store._group._writer._appends, "_stored", None)

    assert await store.append_to_stream("note-1", ANY, events) == first


@pytest.mark.one_session
async def test_what_is_lost_while_a_repeat_is_compared_is_sent_again(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_lane(database_url) as store:
        old = await append_raw(store, "count-1", COUNTED, 1, '{"count":"1"}')
        stored = store._group._writer._appends._stored
        calls: list[int] = []

        async def cut_off(to: asyncpg.Connection, *arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == 1:
                await end_sessions(connection, f"pid = {to.get_server_pid()}")
            return await stored(to, *arguments)

        monkeypatch.setattr(store._group._writer._appends, "_stored", cut_off)
        outcomes = await asyncio.gather(
            store.append_to_stream("note-1", NO_STREAM, notes("with it")),
            store.append_to_stream("count-1", ANY, [NewEvent(Counted(number=1), event_id=old)]),
        )

        assert len(calls) == 2
        assert [one.stream_version for one in outcomes] == [1, 1]
        assert len(await store.read_all_events()) == 2


async def test_upcasters_run_in_the_task_that_appends(store: PostgreSQLEventStore) -> None:
    old = await append_raw(store, "count-1", "repeats.watched", 1, '{"number":"1"}')
    upcasting_tasks.clear()

    await store.append_to_stream("count-1", ANY, [NewEvent(Watched(number=1), event_id=old)])

    assert upcasting_tasks == [asyncio.current_task()]


async def test_another_content_in_a_transaction_leaves_it_usable(store: PostgreSQLEventStore) -> None:
    [a] = [NewEvent(one) for one in notes("a")]
    other = NewEvent(Noted(text="other"), event_id=a.event_id)
    async with store.transaction() as tx:
        first = await store.append_to_stream("note-1", NO_STREAM, [a], tx=tx)
        assert await store.append_to_stream("note-1", ANY, [a], tx=tx) == first
        with pytest.raises(EventIdReuseError):
            await store.append_to_stream("note-1", ANY, [other], tx=tx)
        with pytest.raises(EventIdReuseError):
            await store.append_to_streams([("note-1", ANY, [other])], tx=tx)
        await store.append_to_stream("note-1", 1, notes("b"), tx=tx)

    assert texts(await store.read_all_events()) == ["a", "b"]


@pytest.mark.parametrize("is_known", [False, True])
async def test_an_append_with_an_id_is_repeated_in_a_transaction_of_other_code(
    store: PostgreSQLEventStore, is_known: bool
) -> None:
    async def append(tx: Any, *names: str) -> AppendResult:
        return await store.append_to_stream("note-1", ANY, notes(*names), append_id="7", tx=tx)

    known = await append(None, "a", "b") if is_known else None
    async with (
        other_connection(store.database._url) as connection,
        connection.transaction(),
        store.transaction(connection, commit="caller") as tx,
    ):
        first = await append(tx, "a", "b")
        assert await append(tx, "x", "y", "z") == first
        assert await append(tx, "x") == first
        group = await store.append_to_streams([("note-1", ANY, notes("v"))], append_id="7", tx=tx)
        assert group == [first]
    await tx.committed()  # it finds the events of the first append, not those of the repeats

    assert first == (known or first)
    assert texts(await store.read_all_events()) == ["a", "b"]


@pytest.mark.one_session
async def test_an_append_with_an_id_whose_answer_was_lost_is_found(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_lane(database_url) as store:
        appends = store._group._writer._appends
        one = appends.append_commit
        calls: list[bool] = []

        async def cut_off(to: asyncpg.Connection, *arguments: Any, **settings: Any) -> Any:
            calls.append(settings["look_up"])
            answer = await one(to, *arguments, **settings)
            if len(calls) == 1:
                await end_sessions(connection, f"pid = {to.get_server_pid()}")
                await to.fetchval("select 1")
            return answer

        monkeypatch.setattr(appends, "append_commit", cut_off)
        first = await store.append_to_stream("note-1", ANY, notes("a", "b"), append_id="7")

        assert calls == [False, True]
        assert (first.stream_version, len(first.global_positions)) == (2, 2)
        assert texts(await store.read_all_events()) == ["a", "b"]


async def test_a_long_append_with_an_id_is_found_by_a_short_one(store: PostgreSQLEventStore) -> None:
    first = await store.append_to_stream("note-1", NO_STREAM, notes(*range(50)), append_id="7")

    assert await store.append_to_stream("note-1", ANY, notes("x"), append_id="7") == first
