"""What another client writes by the store's SQL functions: refused when nobody could read it again."""

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import pytest

import perdure
from perdure import schema
from perdure.errors import EventDecodingError
from perdure.events import StoredEvent, check_stream_id
from tests.schema.roles import new_role
from tests.stores.postgres.races import other_connection

TIMESTAMP = "2026-11-30T15:00:00Z"


class Row(NamedTuple):
    """An event as another client writes it."""

    stream_id: str = "note-1"
    event_type: str = "test.races.noted"
    event_version: int = 1
    event_data: str = '{"text": "from elsewhere"}'
    metadata: str = json.dumps({"timestamp": TIMESTAMP})


WAYS = {
    "append_event": "perdure.append_event($1, 0, $2, $3, $4::integer::smallint, $5, $6, '1s')",
    "append_batch": "perdure.append_batch($1, '0', '1', '1', $2::uuid::text, $3, $4::integer::text, $5::json::text,"
    " $6::json::text, false, '1s')",
    "append_group": "perdure.append_group(array[$1], array[0], array[1], array[]::text[], array[]::integer[],"
    " array[$2::uuid], array[$3], array[$4::integer::smallint], array[$5::json], array[$6::json], false, '1s')",
}


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of a writer, to a store that is there."""
    async with perdure.connect(database_url):
        pass
    async with new_role(database_url) as (role, url):
        await schema.grant(database_url, role, "writer")
        async with other_connection(url) as connection:
            yield connection


async def write(connection: asyncpg.Connection, row: Row, way: str = "append_event") -> None:
    await connection.execute(f"select * from {WAYS[way]}", row.stream_id, uuid4(), *row[1:])


async def stored(url: str) -> list[StoredEvent]:
    async with perdure.connect(url) as store:
        return list(await store.read_all_events())


def metadata(**fields: Any) -> str:
    return json.dumps({"timestamp": TIMESTAMP, **fields})


BAD = [
    (Row(stream_id="note"), "stream id"),
    (Row(stream_id="-1"), "stream id"),
    (Row(stream_id="note-"), "stream id"),
    (Row(stream_id=""), "stream id"),
    (Row(stream_id="note-" + "x" * 508), "stream id"),
    (Row(stream_id="note-a\tb"), "stream id"),
    (Row(stream_id="no\nte-1"), "stream id"),
    (Row(stream_id="note-\x7f"), "stream id"),
    (Row(event_type=""), "event type"),
    (Row(event_type="two words"), "event type"),
    (Row(event_type="x" * 201), "event type"),
    (Row(event_version=0), "event version"),
    (Row(event_version=-1), "event version"),
    (Row(event_data="1"), "payload is a JSON number"),
    (Row(event_data="null"), "payload is a JSON null"),
    (Row(metadata="[]"), "metadata are a JSON array"),
    (Row(metadata="{}"), "no timestamp"),
    (Row(metadata='{"timestamp": null}'), "no timestamp"),
    (Row(metadata='{"timestamp": 1}'), "no timestamp"),
    (Row(metadata='{"timestamp": "yesterday"}'), "no timestamp"),
    (Row(metadata='{"timestamp": "2026-11-30T15:00:00"}'), "no timestamp"),
    (Row(metadata='{"timestamp": "2026-11-30T24:00:00+01:00"}'), "no timestamp"),
    (Row(metadata='{"timestamp": "2026-02-30T15:00:00+01:00"}'), "a day that doesn't exist"),
    (Row(metadata=metadata(correlation_id=1)), "correlation_id that isn't text"),
    (Row(metadata=metadata(causation_id={})), "causation_id that isn't text"),
    (Row(metadata=metadata(user_id=[])), "user_id that isn't text"),
    (Row(metadata=metadata(headers=[])), "headers that aren't an object"),
    (Row(metadata=metadata(headers=None)), "headers that aren't an object"),
    (Row(metadata=metadata(headers="a")), "headers that aren't an object"),
    (Row(metadata=metadata(headers={"a": 1})), "header that isn't text"),
    (Row(metadata=metadata(headers={"a": {"b": "c"}})), "header that isn't text"),
    # In the form in which Perdure writes it, without a space.
    (Row(metadata=f'{{"timestamp":"{TIMESTAMP}","user_id":1}}'), "user_id that isn't text"),
    (Row(metadata=f'{{"timestamp":"{TIMESTAMP}","user_id":{{"a":"b"}}}}'), "user_id that isn't text"),
    (Row(metadata=f'{{"timestamp":"{TIMESTAMP}","headers":"a"}}'), "headers that aren't an object"),
    (Row(metadata=f'{{"timestamp":"{TIMESTAMP}","headers":{{"a":{{"b":"c"}}}}}}'), "header that isn't text"),
    (Row(metadata=f'{{"timestamp":"{TIMESTAMP}","headers":{{"a":["c"]}}}}'), "header that isn't text"),
]


@pytest.mark.parametrize(("row", "words"), BAD, ids=[f"{number}-{words}" for number, (_, words) in enumerate(BAD)])
async def test_what_could_not_be_read_is_refused_and_it_is_said_why(
    writer: asyncpg.Connection, database_url: str, row: Row, words: str
) -> None:
    with pytest.raises(asyncpg.PostgresError, match=words) as refused:
        await write(writer, row)

    assert refused.value.sqlstate == "PD006"
    assert refused.value.hint
    assert await stored(database_url) == []


ODD_TIMES = (
    "2026-11-30T24:00:00.000000Z",
    "2026-11-30T15:60:00.000000Z",
    "2026-11-30T23:59:60.000000Z",
    "2026-11-30T11:00:00.1 AM Z",
    "2026-11-30T11:00:00.1,BC,Z",
    "2026-11-30T11:00:00.123i56Z",
    "2026-11-3 T11:00:00.000000Z",
    "2026-11-3:T11:00:00.000000Z",
    " 026-11-30T11:00:00.000000Z",
    "2026-11-30T11:00:00,AM,Z",
    "2026-11-30T24:00:00Z",
    "2026-11-30T11:00:00.12-34-Z",
    " Jan-08-99T12:00:00.000000Z",
    "\uff12\uff10\uff12\uff16-11-30T11:00:00.000000Z",
    "2026-11-30T\u0661\u0661:00:00.000000Z",
)
"""PostgreSQL's own parser takes nearly all of them. None is a time by RFC 3339."""


@pytest.mark.parametrize("time", ODD_TIMES)
async def test_a_time_that_only_postgresql_would_read_is_refused(
    writer: asyncpg.Connection, database_url: str, time: str
) -> None:
    with pytest.raises(asyncpg.PostgresError, match="no timestamp that can be read") as refused:
        await write(writer, Row(metadata=f'{{"timestamp":"{time}"}}'))

    assert refused.value.sqlstate == "PD006"
    assert await stored(database_url) == []


@pytest.mark.parametrize("way", WAYS)
async def test_no_function_leads_around_it(database_url: str, way: str) -> None:
    async with perdure.connect(database_url), other_connection(database_url) as owner:
        await no_way_around(owner, database_url, way)


async def no_way_around(writer: asyncpg.Connection, database_url: str, way: str) -> None:
    for row in (Row(stream_id="note"), Row(event_type="a b"), Row(event_version=0), Row(metadata="{}")):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await write(writer, row, way)
        assert refused.value.sqlstate == "PD006"

    await write(writer, Row(), way)
    assert len(await stored(database_url)) == 1


GOOD = [
    Row(),
    Row(stream_id="übung-a b-c'd\"e", event_type="x" * 200, event_version=32767),
    Row(stream_id="note-" + "x" * 507),
    Row(event_data="[1, 2]"),
    Row(metadata='{"timestamp": "2024-02-29T23:59:59.123456789+14:00"}'),
    Row(metadata='{"timestamp":"2024-02-29T23:59:59.999999Z"}'),
    Row(metadata='{"timestamp":"2024-12-31T00:00:00Z"}'),
    Row(metadata=metadata(correlation_id=None, user_id='a "quoted" name', headers={"a": "b", "c": '"'})),
    Row(metadata=f'{{"timestamp":"{TIMESTAMP}","user_id":"ann","headers":{{"a":"b","c":"d"}}}}'),
    Row(metadata=f'{{"timestamp":"{TIMESTAMP}","user_id":"a:{{b","headers":{{}}}}'),
    Row(metadata=metadata(more=[1, {"a": 2}])),
]


@pytest.mark.parametrize("row", GOOD)
async def test_what_can_be_read_is_taken(writer: asyncpg.Connection, database_url: str, row: Row) -> None:
    await write(writer, row)

    [event] = await stored(database_url)
    check_stream_id(event.stream_id)
    assert event.metadata.timestamp.utcoffset() is not None


async def test_what_was_written_around_the_check_is_a_typed_error(database_url: str) -> None:
    async with perdure.connect(database_url), other_connection(database_url) as owner:
        await owner.execute("alter table perdure.events drop constraint events_readable")
        await write(owner, Row(metadata="{}"))
        await write(owner, Row(stream_id="note-2", event_type="test.races.noted", event_data="[]"))
        await write(owner, Row(stream_id="note-3", event_data='{"text": "\\ud800"}'))

    bad, listed, half = await stored(database_url)
    with pytest.raises(EventDecodingError, match=r"metadata .*timestamp") as refused:
        _ = bad.metadata
    assert (refused.value.stream_id, refused.value.stream_version) == ("note-1", 1)
    assert "stored_metadata" in str(refused.value)
    with pytest.raises(EventDecodingError):
        _ = bad.timestamp
    for event in (listed, half):
        with pytest.raises(EventDecodingError):
            _ = event.event
    with pytest.raises(EventDecodingError):
        _ = half.upcast_data
