"""Which streams there are, and what happened in one."""

import pytest

from perdure import PostgreSQLEventStore
from tests.cli.calling import Call

pytestmark = pytest.mark.usefixtures("events")


async def test_streams_are_listed_in_the_order_of_their_ids(perdure: Call) -> None:
    answer = await perdure("streams", "list")

    header, *rows = answer.out.splitlines()
    assert header.split() == ["stream", "version", "last", "event", "position", "recorded", "at"]
    assert [row.split()[:4] for row in rows] == [
        ["content-1", "2", "content.watched", "5"],
        ["user-1", "3", "user.preferences_updated", "6"],
        ["user-2", "1", "user.registered", "3"],
    ]
    assert (answer.status, answer.err) == (0, "")


async def test_streams_are_listed_page_by_page(perdure: Call) -> None:
    first = (await perdure("streams", "list", "--limit", "2", "--json")).envelope
    second = (await perdure(*first["next"].split()[1:], "--json")).envelope

    assert first["data"]["more"]
    assert [one["stream_id"] for one in first["data"]["streams"]] == ["content-1", "user-1"]
    assert [one["stream_id"] for one in second["data"]["streams"]] == ["user-2"]
    assert (second["data"]["more"], second["next"]) == (False, None)


async def test_streams_of_a_category_are_listed(perdure: Call) -> None:
    found = (await perdure("streams", "list", "--category", "user", "--json")).data

    assert [one["stream_id"] for one in found["streams"]] == ["user-1", "user-2"]


async def test_a_category_without_streams_is_told(perdure: Call) -> None:
    answer = await perdure("streams", "list", "--category", "order")

    assert (answer.status, answer.out) == (0, "No streams of category 'order'.\n")


async def test_a_stream_is_shown_with_its_events(streaming: Call) -> None:
    answer = await streaming("streams", "show", "user-1")

    assert "version    3 events" in answer.out
    assert "aggregate  examples.streaming.user.User" in answer.out
    assert '{"user_id":"1","email":"john@example.com"' in answer.out
    assert answer.err == "Next: perdure --app examples.streaming:app state user-1\n"


async def test_a_stream_is_shown_page_by_page(perdure: Call) -> None:
    first = (await perdure("streams", "show", "user-1", "--limit", "2", "--json")).envelope
    second = (await perdure(*first["next"].split()[1:], "--json")).envelope

    assert [one["stream_version"] for one in first["data"]["events"]] == [1, 2]
    assert [one["stream_version"] for one in second["data"]["events"]] == [3]
    assert second["next"] is None


async def test_some_types_of_a_stream_are_shown_page_by_page(perdure: Call) -> None:
    types = ("--type", "user.registered", "--type", "user.preferences_updated")
    first = (await perdure("streams", "show", "user-1", *types, "--limit", "1", "--json")).envelope
    second = (await perdure(*first["next"].split()[1:], "--json")).envelope
    none = await perdure("streams", "show", "user-1", "--type", "user.moved")

    assert [one["stream_version"] for one in first["data"]["events"]] == [1]
    assert [one["stream_version"] for one in second["data"]["events"]] == [3]
    assert (first["data"]["more"], second["data"]["more"], second["next"]) == (True, False, None)
    assert (none.status, none.out.splitlines()[-1]) == (0, "No such events.")


async def test_a_stream_that_is_not_there_is_told(perdure: Call) -> None:
    answer = await perdure("streams", "show", "user-9")

    assert answer.status == 1
    assert answer.err == "Error: there is no stream 'user-9'\nNext: perdure streams list\n"


async def test_a_text_that_is_no_stream_id_is_told(perdure: Call) -> None:
    answer = await perdure("streams", "show", "nope")

    assert answer.status == 2
    assert "a stream id is 'category-id'" in answer.err
    assert answer.err.endswith("Next: perdure streams show --help\n")


async def test_control_characters_in_a_stream_id_do_not_reach_the_terminal(
    perdure: Call, store: PostgreSQLEventStore
) -> None:
    await store.database.fetch(
        "insert into perdure.events (stream_id, stream_version, event_id, event_type, event_version, event_data, "
        "metadata) values ($1, 1, gen_random_uuid(), 'x', 1, '{}', '{\"timestamp\":\"2026-01-01T00:00:00Z\"}')",
        "user-\x9b31m\u202ered[bold]",
    )

    answer = await perdure("streams", "list")

    assert r"user-\x9b31m\u202ered[bold]" in answer.out
