"""`stored_event`: an event as code of back then stored it."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from perdure import InMemoryEventStore, InvalidStreamIdError, PostgreSQLEventStore, context, event
from perdure.testing import append_stored, controlled, stored_event

THEN = datetime(2020, 1, 1, tzinfo=UTC)


@event("stored.sent")
class Sent:
    text: str
    count: int = 1


def test_it_is_read_as_the_class_of_today() -> None:
    assert stored_event("stored.sent", {"text": "hi"}).event == Sent(text="hi")


def test_it_takes_what_it_is_given() -> None:
    stored = stored_event(
        "stored.other", {"id": UUID(int=1)}, version=3, timestamp=THEN, stream_id="user-1", stream_version=7
    )

    assert (stored.event_type, stored.event_version, stored.timestamp) == ("stored.other", 3, THEN)
    assert (stored.stream_id, stored.stream_version, stored.global_position) == ("user-1", 7, 7)
    assert stored.event_data == '{"id":"00000000-0000-0000-0000-000000000001"}'


def test_it_takes_the_rest_from_the_context() -> None:
    with controlled() as clock, context(user_id="ann", headers={"a": "b"}):
        stored = stored_event("stored.sent", {"text": "hi"})

    assert stored.timestamp == clock.now()
    assert (stored.metadata.user_id, stored.metadata.headers) == ("ann", {"a": "b"})


def test_a_bad_stream_id_is_refused() -> None:
    with pytest.raises(InvalidStreamIdError):
        stored_event("stored.sent", {}, stream_id="user")


@pytest.mark.parametrize("kind", ["postgresql", "memory"])
async def test_it_is_appended_as_it_is_and_read_as_the_class_of_today(kind: str, database_url: str) -> None:
    store = InMemoryEventStore() if kind == "memory" else PostgreSQLEventStore(database_url, migrate=True)
    async with store:
        old = stored_event("stored.sent", {"text": "hi", "gone": 1}, timestamp=THEN, stream_id="user-1")
        other = stored_event("stored.forgotten", {}, version=7, stream_id="user-1")
        first = await append_stored(store, old)
        await append_stored(store, other)
        again = await append_stored(store, old)

        found = await store.read_stream("user-1")
    assert (first.stream_version, first.global_positions) == (1, again.global_positions)
    assert again.is_repeat
    assert [(one.event_id, one.event_type, one.event_version) for one in found] == [
        (old.event_id, "stored.sent", 1),
        (other.event_id, "stored.forgotten", 7),
    ]
    assert found[0].event == Sent(text="hi")
    assert found[0].timestamp == THEN
    assert '"gone"' in found[0].event_data
