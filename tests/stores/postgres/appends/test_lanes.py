"""Append lanes that end by an error: it is logged, callers learn what became of their appends, and the lane goes on."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY, NO_STREAM, AppendResult
from perdure.errors import OutcomeUnknownError, StoreClosedError, StoreUnavailableError
from perdure.events import NewEvent
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import add_gate, close_gate, notes, open_gate, texts, until_waiting


class Stray(BaseException):
    """What no part of a lane catches."""


@pytest.fixture
async def one_lane(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    async with PostgreSQLEventStore(database_url, append_lanes=1) as store:
        yield store


def once(patch: pytest.MonkeyPatch, owner: object, name: str, *, is_async: bool, error: BaseException) -> None:
    """Let a method do its work once, and then raise; restore it for the calls that follow."""
    method = getattr(owner, name)

    async def fail_later(*arguments: Any, **settings: Any) -> Any:
        setattr(owner, name, method)
        await method(*arguments, **settings)
        raise error

    def fail(*arguments: Any, **settings: Any) -> Any:
        setattr(owner, name, method)
        method(*arguments, **settings)
        raise error

    patch.setattr(owner, name, fail_later if is_async else fail)


def logged(caplog: pytest.LogCaptureFixture) -> list[object]:
    """The errors whose traceback is in the log."""
    return [record.exc_info[1] for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("error", [Stray(), asyncio.CancelledError()], ids=["a bug", "a cancellation by nobody"])
async def test_a_lane_that_ends_in_the_middle_of_a_batch_leaves_its_outcome_unknown_and_starts_again(
    one_lane: PostgreSQLEventStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    event = NewEvent(notes("perhaps")[0])
    with monkeypatch.context() as patch:
        once(patch, one_lane._group._writer._appends, "append_commit", is_async=True, error=error)
        with pytest.raises(OutcomeUnknownError) as unknown:
            await one_lane.append_to_stream("note-a", NO_STREAM, [event])

    assert unknown.value.event_ids == (event.event_id,)
    cause = unknown.value.__cause__
    assert isinstance(cause, StoreUnavailableError)
    assert cause.__cause__ is error
    assert await one_lane.append_to_stream("note-a", NO_STREAM, [event]) == AppendResult("note-a", 1, (1,))
    assert logged(caplog) == [error]
    assert caplog.records[0].levelno == logging.ERROR
    assert "append lane 0" in caplog.records[0].getMessage()


async def test_a_lane_that_ends_before_it_has_sent_anything_reports_that_nothing_was_written(
    one_lane: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> Any:
        raise Stray

    with monkeypatch.context() as patch:
        patch.setattr(one_lane.database, "connect", broken)
        with pytest.raises(StoreUnavailableError, match="append lane 0"):
            await one_lane.append_to_stream("note-a", ANY, notes("never sent"))

    await one_lane.append_to_stream("note-a", ANY, notes("sent"))
    assert texts(await one_lane.read_all_events()) == ["sent"]


async def test_a_lane_that_ends_by_a_fault_of_the_queue_starts_again(
    one_lane: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = KeyError("a bug")
    with monkeypatch.context() as patch:
        once(patch, one_lane._group._queue, "finish", is_async=False, error=error)
        await one_lane.append_to_stream("note-a", ANY, notes("first"))

        await one_lane.append_to_stream("note-a", ANY, notes("second"))

    assert logged(caplog) == [error]


async def test_what_is_queued_behind_a_lane_that_ends_is_written_by_the_next_one(
    one_lane: PostgreSQLEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    once(monkeypatch, one_lane._group._writer, "write", is_async=True, error=Stray())
    first = asyncio.create_task(one_lane.append_to_stream("note-a", ANY, notes("gated")))
    await until_waiting(connection)
    behind = asyncio.create_task(one_lane.append_to_stream("note-a", ANY, notes("behind")))
    await open_gate(connection)

    assert (await first).stream_version == 1  # it was answered before the lane ended
    assert (await behind).stream_version == 2


async def test_when_the_last_lane_is_cancelled_appends_are_refused_instead_of_waiting_for_ever(
    one_lane: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await add_gate(connection)
    await close_gate(connection)
    sent = asyncio.create_task(one_lane.append_to_stream("note-a", ANY, notes("gated")))
    await until_waiting(connection)
    queued = asyncio.create_task(one_lane.append_to_stream("note-a", ANY, notes("queued")))
    await asyncio.sleep(0)
    lane = one_lane._group._lanes[0].task
    assert lane is not None
    lane.cancel()

    outcomes = await asyncio.gather(sent, queued, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknownError, StoreClosedError]
    with pytest.raises(StoreClosedError):
        await one_lane.append_to_stream("note-a", ANY, notes("refused"))
    await open_gate(connection)
