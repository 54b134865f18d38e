"""An event that was read from the database is the event that the port promises."""

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from perdure.stores.postgres.event_rows import times
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import notes

SENT = "select date_part('epoch', t), t from unnest($1::timestamptz[]) t"
TIMES = [
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1700, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2238, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
]


async def test_times_are_decoded_as_the_driver_does(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(SENT, TIMES)
    found = times([seconds for seconds, _ in rows])

    assert found == [decoded for _, decoded in rows] == TIMES
    assert {time.tzinfo for time in found} == {UTC}


async def test_a_time_that_python_can_not_express_does_not_keep_events_from_being_read(
    connection: asyncpg.Connection,
) -> None:
    rows = await connection.fetch(
        "select date_part('epoch', t) from unnest('{-infinity,4713-01-01 BC,infinity,2026-01-01 UTC}'::timestamptz[]) t"
    )
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

    assert times([seconds for (seconds,) in rows]) == [first, first, last, datetime(2026, 1, 1, tzinfo=UTC)]


@given(st.lists(st.datetimes(datetime(1700, 1, 1), datetime(2239, 1, 1), timezones=st.just(UTC))))  # noqa: DTZ001 - the zone is beside it
def test_every_microsecond_is_exact(expected: list[datetime]) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    assert times([(time - epoch) // timedelta(microseconds=1) / 1e6 for time in expected]) == expected


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
