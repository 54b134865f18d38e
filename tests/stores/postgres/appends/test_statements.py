"""How commits travel to the database: column by column, each a text with a separator between its values."""

import asyncio
from enum import IntEnum
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.commit import ANY, NO_STREAM, AppendResult, Commit, EncodedEvent
from perdure.errors import DatabaseError, InvalidStreamIdError
from perdure.events import NewEvent, check_stream_id
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.conformance.samples import Noted
from tests.stores.postgres.races import notes, texts

SEPARATOR = "\x1f"
CHARACTERS = [chr(number) for number in [*range(1, 0x30), 0x7F, 0x85, 0xA0, 0x2028, 0xFEFF, 0x1F4A5]]
METADATA = '{"timestamp":"2020-01-01T00:00:00Z"}'


async def transactions(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("select count(distinct xmin::text) from perdure.events"))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_what_is_encoded_holds_no_separator(text: str) -> None:
    new = NewEvent(Noted(text=text), headers={text: text})

    assert SEPARATOR not in new.event_kind.codec.encode(new.event)


@pytest.mark.parametrize("stream_id", [f"note-a{SEPARATOR}b", f"no{SEPARATOR}te-a"])
def test_no_id_of_a_stream_holds_the_separator(stream_id: str) -> None:
    with pytest.raises(InvalidStreamIdError):
        check_stream_id(stream_id)


async def test_a_batch_keeps_every_character_where_it_is(database_url: str, connection: asyncpg.Connection) -> None:
    async with PostgreSQLEventStore(database_url, append_lanes=1) as store:
        wanted = {f"note-{number}-é💥 '\"\\": [text, text * 2, ""] for number, text in enumerate(CHARACTERS)}
        await asyncio.gather(
            *[
                store.append_to_stream(
                    stream_id, NO_STREAM, [NewEvent(one, headers={text: text}) for one in notes(*all_)]
                )
                for stream_id, all_ in wanted.items()
                for text in all_[:1]
            ]
        )

        assert {stream_id: texts(await store.read_stream(stream_id)) for stream_id in wanted} == wanted
        assert [one.metadata.headers for one in await store.read_all_events()] == [
            {text: text} for stream_id in sorted(wanted) for text in wanted[stream_id][:1] * 3
        ]
        assert await transactions(connection) == 1


@pytest.mark.parametrize("data", [f"1{SEPARATOR}2", f'"{SEPARATOR}"', f"{{}}{SEPARATOR}", ""])
async def test_a_value_that_holds_the_separator_shifts_no_other(database_url: str, data: str) -> None:
    async with PostgreSQLEventStore(database_url, append_lanes=1) as store:
        odd = EncodedEvent(uuid4(), "perdure.conformance.noted", 1, data, METADATA)
        outcomes = await asyncio.gather(
            store.append_to_stream("note-a", NO_STREAM, notes("before")),
            store.append(Commit("note-b", ANY, (odd,), 10)),
            store.append_to_stream("note-c", NO_STREAM, notes("after")),
            return_exceptions=True,
        )

        assert [type(outcome) for outcome in outcomes] == [AppendResult, DatabaseError, AppendResult]
        assert [(one.stream_id, one.event_data) for one in await store.read_all_events()] == [
            ("note-a", '{"text":"before"}'),
            ("note-c", '{"text":"after"}'),
        ]


async def test_a_value_that_holds_the_separator_is_refused_for_the_length_of_its_column(
    connection: asyncpg.Connection, store: PostgreSQLEventStore
) -> None:
    texts_of_one = ["note-a", "0", "1", "1", uuid4().hex, "note", "1", "{}", METADATA]
    twice = [SEPARATOR.join([text, text]) for text in texts_of_one]
    call = "select * from perdure.append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, false, '1s')"

    for column in range(9):
        columns = [twice[i] if i == column else text for i, text in enumerate(texts_of_one)]
        with pytest.raises(asyncpg.PostgresError) as refused:
            await connection.execute(call, *columns)
        assert refused.value.sqlstate == "PD004"

    assert await store.read_all_events() == []


async def test_an_expected_version_may_be_a_member_of_an_enumeration(database_url: str) -> None:
    class Versions(IntEnum):
        FIRST = 1

    async with PostgreSQLEventStore(database_url, append_lanes=1) as store:
        results = await asyncio.gather(
            store.append_to_stream("note-a", NO_STREAM, notes("1")),
            store.append_to_stream("note-a", Versions.FIRST, notes("2")),
            store.append_to_stream("note-b", NO_STREAM, notes("1")),
        )

        assert [result.stream_version for result in results] == [1, 2, 1]


KNOWN, KNOWN_ELSEWHERE = uuid4(), uuid4()


@pytest.mark.parametrize("event_id", [None, KNOWN, KNOWN_ELSEWHERE], ids=["new", "known", "known elsewhere"])
@pytest.mark.parametrize("stream_id", ["note-a", "note-new"])
@pytest.mark.parametrize("expected", [-2, -1, 0, 1, 2, 3])
async def test_a_single_event_gets_the_same_answer_by_the_short_way(
    connection: asyncpg.Connection, store: PostgreSQLEventStore, event_id: UUID | None, stream_id: str, expected: int
) -> None:
    for stream, known in (("note-a", KNOWN), ("note-b", KNOWN_ELSEWHERE)):
        await store.append_to_stream(stream, NO_STREAM, [NewEvent(note, event_id=known) for note in notes(1)])
    await store.append_to_stream("note-a", 1, notes(2))
    event = [stream_id, expected, event_id or uuid4(), "test.races.noted", 1, "{}", METADATA]
    nothing = "array[]::text[], array[]::integer[]"
    arrays = f"{nothing}, array[$3::uuid], array[$4], array[$5::smallint], array[$6::json], array[$7::json]"

    async def answer(call: str) -> list[int] | str:
        transaction = connection.transaction()
        await transaction.start()
        try:
            status, version, *positions = await connection.fetchval(call, *event)
            stored = await connection.fetchval("select count(*) from perdure.events")
            return [status, version if status != 3 else 0, len(positions), stored]
        except asyncpg.UniqueViolationError as error:
            return error.constraint_name or ""
        finally:
            await transaction.rollback()

    short = await answer("select perdure.append_event($1, $2, $3, $4, $5, $6, $7, '1s')")
    ordinary = await answer(
        "select array[status, coalesce(stream_versions[1], stream_version)] || global_positions "
        f"from perdure.append_group(array[$1], array[$2::integer], array[1], {arrays}, false, '1s')"
    )

    assert short == ordinary
