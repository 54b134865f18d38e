"""`stored_event`: an event as code of back then stored it."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from perdure import InvalidStreamIdError, context, event
from perdure.testing import controlled, stored_event

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
