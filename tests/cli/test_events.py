"""The log is read, followed, and looked at event by event."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

import pytest

from perdure import ANY, NewEvent, PostgreSQLEventStore, event, upcast
from perdure.events import registry
from tests.cli.calling import STREAMING, Call, check_envelope, start
from tests.stores.postgres.races import Noted

pytestmark = pytest.mark.usefixtures("events")


def positions(envelope: dict[str, Any]) -> list[int]:
    return [one["global_position"] for one in envelope["data"]["events"]]


async def test_the_log_is_read_from_the_beginning(perdure: Call) -> None:
    answer = await perdure("events", "read")

    header, *rows = answer.out.splitlines()
    assert header.split() == ["position", "recorded", "at", "stream", "version", "type", "data"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert '{"content_id":"1","title":"Heat","genres":["crime"]}' in rows[3]
    assert (answer.status, answer.err) == (0, "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--limit", "2"], [[1, 2], [3, 4], [5, 6]]),
        (["--limit", "2", "--backwards"], [[6, 5], [4, 3], [2, 1]]),
        (["--limit", "4", "--before", "6"], [[5, 4, 3, 2], [1]]),
        (["--limit", "2", "--category", "user"], [[1, 2], [3, 6]]),
        (["--limit", "1", "--type", "content.added", "--type", "content.watched"], [[4], [5]]),
        (["--limit", "1", "--correlation-id", "request-1"], [[1], [2]]),
        (["--limit", "3", "--category", "content", "--category", "user"], [[1, 2, 3], [4, 5, 6]]),
        (["--limit", "2", "--stream", "user-1"], [[1, 2], [6]]),
        (["--limit", "1", "--stream", "user-1", "--backwards", "--type", "user.subscribed"], [[2]]),
        (["--stream", "user-1", "--category", "content"], [[]]),
        (["--from", "4"], [[5, 6]]),
        (["--limit", "4", "--up-to", "6", "--timeout", "0.5"], [[1, 2, 3, 4], [5, 6]]),
        (["--recorded-from", "2099-01-01"], [[]]),
        (["--recorded-before", "2099-01-01", "--limit", "5"], [[1, 2, 3, 4, 5], [6]]),
    ],
)
async def test_the_next_command_leads_from_page_to_page(
    perdure: Call, options: list[str], expected: list[list[int]]
) -> None:
    pages = [(await perdure("events", "read", *options, "--json")).envelope]
    while command := pages[-1]["next"]:
        pages.append((await perdure(*command.split()[1:], "--json")).envelope)

    assert list(map(positions, pages)) == expected


async def test_what_is_stored_is_told_as_it_is(perdure: Call) -> None:
    [first, *_] = (await perdure("events", "read", "--json")).data["events"]

    assert first["data"]["initial_preferences"] == ["drama"]
    assert (first["correlation_id"], first["causation_id"], first["user_id"]) == ("request-1", None, "ann")
    assert first["headers"] == {"host": "web-1"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--recorded-from", "yesterday"], "'yesterday' isn't a time"),
        (["--from", "1", "--backwards"], "use --before"),
        (["--from", "-1"], "-1 is not in the range"),
        (["--category", "a-b"], "write 'a_b'"),
        (["--type", ""], "event_types is empty"),
        (["--category", "user", "--category", ""], "category"),
        (["--stream", "user"], "stream"),
        (["--up-to", "7"], "up_to is position 7, but the log ends at 6"),
        (["--timeout", "-1"], "-1.0 is not in the range"),
    ],
)
async def test_options_that_cannot_be_are_told(perdure: Call, options: list[str], reason: str) -> None:
    answer = await perdure("events", "read", *options)

    assert answer.status == 2
    assert reason in answer.err
    assert answer.err.endswith("Next: perdure events read --help\n")


async def test_the_session_that_holds_a_position_back_is_told(perdure: Call, database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as store, store.transaction() as tx:
        await store.append_to_stream("note-1", ANY, [Noted()], tx=tx)
        mine = await store.append_to_stream("note-2", ANY, [Noted()])
        answer = await perdure("events", "read", "--up-to", str(mine.global_position), "--timeout", "0")

    assert answer.status == 1
    assert "held back by pid" in answer.err
    assert answer.err.endswith("Next: perdure doctor\n")


async def test_an_event_is_shown_by_its_position_with_what_caused_it(streaming: Call) -> None:
    answer = await streaming("events", "show", "2")

    assert "event           user.subscribed, version 1" in answer.out
    assert "correlation id  request-1" in answer.out
    assert '  "plan": "premium",' in answer.out
    assert answer.out.splitlines()[-3:] == [
        "Events of the same request",
        "  user.registered  user-1  position 1",
        "→   user.subscribed  user-1  position 2",
    ]


async def test_an_event_is_shown_by_its_id(perdure: Call) -> None:
    [first, *_] = (await perdure("events", "read", "--json")).data["events"]

    detail = (await perdure("events", "show", first["event_id"], "--json")).data

    assert detail["event"] == first
    [tree] = detail["causation_tree"]
    assert tree["event"] == first
    assert [effect["event"]["global_position"] for effect in tree["effects"]] == [2]


@pytest.mark.usefixtures("own_registry")
async def test_an_old_event_is_shown_as_it_is_stored_and_as_it_is_read(
    perdure: Call, store: PostgreSQLEventStore
) -> None:
    @event("seat.booked")
    class SeatBooked:
        seat: str

    await store.append_to_stream("seat-1", ANY, [SeatBooked(seat="B/7")])

    registry._by_name.pop("seat.booked")

    @event("seat.booked", version=2)
    class NewSeatBooked:
        row: str

    @upcast("seat.booked", from_version=1)
    def split(data: dict[str, Any]) -> dict[str, Any]:
        return {"row": data["seat"].partition("/")[0]}

    answer = await perdure("events", "show", "7")
    detail = (await perdure("events", "show", "7", "--json")).data

    assert 'Data\n{\n  "seat": "B/7"\n}\n\nData as version 2\n{\n  "row": "B"\n}\n' in answer.out
    assert detail["event"]["data"] == {"seat": "B/7"}
    assert (detail["reading"]["data"], detail["reading"]["current_version"]) == ({"row": "B"}, 2)


@pytest.mark.usefixtures("own_registry")
async def test_an_event_that_this_code_cannot_read_is_shown_with_the_reason(
    perdure: Call, store: PostgreSQLEventStore
) -> None:
    @event("seat.sold")
    class SeatSold:
        seat: int

    await store.append_to_stream("seat-1", ANY, [NewEvent(SeatSold(seat=7))])

    registry._by_name.pop("seat.sold")

    @event("seat.sold")
    class NewSeatSold:
        seat: str

    answer = await perdure("events", "show", "7")

    assert answer.status == 0
    assert "This code can't decode it\nevent 'seat.sold' (version 1 of 'seat-1') doesn't fit its class" in answer.out


@pytest.mark.parametrize("which", ["99", "0", "99999999999999999999", "01a2043c-bcec-77a6-969b-2f8487c5adb3"])
async def test_an_event_that_is_not_there_is_told(perdure: Call, which: str) -> None:
    answer = await perdure("events", "show", which)

    assert answer.status == 1
    assert answer.err == f"Error: there is no event '{which}'\nNext: perdure events read --backwards\n"


async def test_a_text_that_is_no_event_id_is_told(perdure: Call) -> None:
    answer = await perdure("events", "show", "seven")

    assert answer.status == 2
    assert "neither an event id nor a position" in answer.err


@contextmanager
def tailed(*options: str, database_url: str) -> Iterator[Popen[str]]:
    process = start("--app", STREAMING, "events", "tail", "--json", *options, database_url=database_url)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_position(process: Popen[str]) -> int:
    assert process.stdout is not None
    envelope = json.loads(process.stdout.readline())
    check_envelope(envelope)
    return int(envelope["data"]["global_position"])


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_the_log_is_followed_until_it_is_told_to_stop(
    store: PostgreSQLEventStore, database_url: str, ending: signal.Signals
) -> None:
    with tailed("--last", "2", database_url=database_url) as process:
        assert [next_position(process), next_position(process)] == [5, 6]
        last = await store.last_event("content-1")
        assert last is not None
        await store.append_to_stream("content-1", ANY, [last.event])
        assert next_position(process) == 7

        process.send_signal(ending)
        assert process.wait(timeout=30) == 0
        assert process.communicate() == ("", "")


async def test_the_log_is_followed_by_category_and_type_from_a_position(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    options = ("--from", "1", "--category", "content", "--type", "content.watched", "--limit", "2")
    with tailed(*options, database_url=database_url) as process:
        assert next_position(process) == 5
        last = await store.last_event("content-1")
        assert last is not None
        await store.append_to_stream("user-7", ANY, [last.event])
        await store.append_to_stream("content-1", ANY, [last.event])
        assert next_position(process) == 8
        assert process.wait(timeout=30) == 0


async def test_the_log_is_followed_by_several_categories_from_a_time(
    store: PostgreSQLEventStore, database_url: str
) -> None:
    added, watched = await store.read_stream("content-1")
    options = ("--from", watched.recorded_at.isoformat(), "--category", "content", "--category", "note")
    with tailed(*options, database_url=database_url) as process:
        assert next_position(process) == 5
        await store.append_to_stream("user-7", ANY, [added.event])
        await store.append_to_stream("note-1", ANY, [added.event])
        assert next_position(process) == 8


async def test_one_stream_is_followed(store: PostgreSQLEventStore, database_url: str) -> None:
    with tailed("--last", "2", "--stream", "user-1", database_url=database_url) as process:
        assert [next_position(process), next_position(process)] == [2, 6]
        last = await store.last_event("user-1")
        assert last is not None
        await store.append_to_stream("user-2", ANY, [last.event])
        await store.append_to_stream("user-1", ANY, [last.event])
        assert next_position(process) == 8


async def test_the_log_is_followed_from_now(store: PostgreSQLEventStore, database_url: str) -> None:
    last = await store.last_event("user-1")
    assert last is not None
    with tailed("--from", "now", "--limit", "1", database_url=database_url) as process:
        # When it begins can't be seen from outside: what is appended until it prints something comes after the past.
        while process.poll() is None:
            await store.append_to_stream("user-1", ANY, [last.event])
            await asyncio.sleep(0.1)
        assert next_position(process) > 6


@pytest.mark.parametrize("start", ["yesterday", "-1", "NOW", "1.5", ""])
async def test_a_point_to_follow_from_that_cannot_be_is_told(perdure: Call, start: str) -> None:
    answer = await perdure("events", "tail", "--from", start)

    assert answer.status == 2
    assert "is no point of the log: write now, 1000, or 2026-05-01" in answer.err


async def test_of_the_last_events_no_more_are_shown_than_asked_for(database_url: str) -> None:
    with tailed("--last", "5", "--limit", "2", database_url=database_url) as process:
        assert [next_position(process), next_position(process)] == [5, 6]
        assert process.wait(timeout=30) == 0
