"""An event as the database sends it is the event that the port promises."""

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import asyncpg
import pytest

from perdure.events import StoredEvent
from perdure.stores.postgres.reader import Row
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import notes

TIMES = [
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1, 1, 2, tzinfo=UTC),
    datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
]


@pytest.mark.parametrize("time", TIMES, ids=str)
async def test_a_time_is_decoded_as_the_driver_does(connection: asyncpg.Connection, time: datetime) -> None:
    [(sent, decoded)] = await connection.fetch("select timestamptz_send($1), $1::timestamptz", time)
    row = Row("note-1", 1, 1, UUID(int=1), "test.races.noted", 1, "{}", "{}", sent)

    assert row.recorded_at == decoded == time
    assert row.recorded_at.tzinfo is UTC


async def test_the_time_of_an_event_is_that_of_its_row(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await store.append_to_stream("note-1", 0, notes("a", "b", "c"))
    times = [
        row["recorded_at"]
        for row in await connection.fetch("select recorded_at from perdure.events order by global_position")
    ]
    read = await store.read_stream("note-1")

    assert [one.recorded_at for one in read] == times
    assert [copy.copy(one).recorded_at for one in read] == times
    assert [one.recorded_at for one in pickle.loads(pickle.dumps(read))] == times


async def test_it_shows_itself_as_any_other_event(store: PostgreSQLEventStore) -> None:
    await store.append_to_stream("note-1", 0, notes("a"))
    [read] = await store.read_stream("note-1")
    plain = StoredEvent(
        read.stream_id,
        read.stream_version,
        read.global_position,
        read.event_id,
        read.event_type,
        read.event_version,
        read.event_data,
        read.stored_metadata,
        read.recorded_at,
    )

    assert repr(read) == repr(plain)
