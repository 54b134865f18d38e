"""The streams of processes and the ids of firings: Python and the database make the same ones."""

from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.event_ids import firing_id
from perdure.events import check_stream_id
from perdure.projections.state.process_stream import process_stream

ODD = (
    ("trials", '{"user_id":"123"}'),
    ("trials", '{"user_id":"a-b.c d"}'),
    ("größe", '{"größe":"\U0001f600"}'),
    ("trials", '{"user_id":"\x7f"}'),
    ("tri\nals", '{"user_id":"1"}'),
    ("trials", '{"user_id":"' + "x" * 471 + '"}'),
    ("trials", '{"user_id":"' + "x" * 483 + '"}'),
    ("trials", '{"user_id":"' + "x" * 484 + '"}'),
    ("trials", '{"user_id":"' + "ö" * 480 + '"}'),
    ("t" * 300, '{"user_id":"' + "x" * 1900 + '"}'),
    ("", ""),
)
V7 = UUID("0190a1b2-c3d4-7e5f-8123-456789abcdef")


def test_it_shows_the_process_and_the_key() -> None:
    assert process_stream("trials", '{"user_id":"123"}') == 'process-trials.{"user_id":"123"}'


def test_a_key_that_a_stream_id_can_not_hold_is_replaced_by_a_hash() -> None:
    short, long = process_stream("trials", "x" * 497), process_stream("trials", "x" * 498)

    assert (len(short), short) == (512, "process-trials." + "x" * 497)
    assert long.startswith("process-trials.")
    assert len(long) == len("process-trials.") + 64
    assert process_stream("trials", "\x7f") != process_stream("trials", "\x7f\x7f")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_it_is_a_stream_id(name: str, key: str) -> None:
    check_stream_id(process_stream(name, key))


@pytest.mark.parametrize(("name", "key"), ODD)
async def test_the_database_makes_the_same_streams(connection: asyncpg.Connection, name: str, key: str) -> None:
    assert await connection.fetchval("select perdure.process_stream($1, $2)", name, key) == process_stream(name, key)


@pytest.mark.parametrize("set_by", [UUID(int=1), uuid4(), V7], ids=["no version", "version 4", "version 7"])
@pytest.mark.parametrize(("name", "key"), ODD)
async def test_the_database_makes_the_same_ids_of_firings(
    connection: asyncpg.Connection, name: str, key: str, set_by: UUID
) -> None:
    found = await connection.fetchval("select perdure.firing_id($1, $2, $3, $4)", name, key, "end", set_by)

    assert found == firing_id(name, key, "end", set_by)
    assert found.version == 8


def test_a_firing_has_the_time_of_what_set_it() -> None:
    assert firing_id("trials", "{}", "end", V7).bytes[:6] == V7.bytes[:6]
    assert firing_id("trials", "{}", "end", V7) != firing_id("trials", "{}", "reminder", V7)
