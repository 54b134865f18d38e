"""Metadata that users make by hand, for tests and upcasters."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from perdure import EventMetadata, InvalidArgumentError, StoredEvent

ID = UUID(int=1)
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_fields_may_be_given_by_position() -> None:
    metadata = EventMetadata(ID, "user.registered", 2, TIME, "correlation", "cause", "ann")

    assert msgspec.structs.asdict(metadata) == {
        "event_id": ID,
        "event_type": "user.registered",
        "event_version": 2,
        "timestamp": TIME,
        "correlation_id": "correlation",
        "causation_id": "cause",
        "user_id": "ann",
        "headers": {},
    }


@pytest.mark.parametrize("version", ["1.0", "1", 1.0, True, None])
def test_a_version_that_isnt_a_whole_number_is_refused(version: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"event_version .* isn't a whole number: count 1, 2, 3") as caught:
        EventMetadata(ID, "user.registered", version, TIME)
    assert caught.value.argument == "event_version"


def test_metadata_that_another_client_wrote_stays_readable() -> None:
    stored = StoredEvent(
        stream_id="user-1",
        stream_version=1,
        global_position=1,
        event_id=ID,
        event_type="user.registered",
        event_version=1,
        event_data="{}",
        stored_metadata='{"timestamp": "2026-01-01T00:00:00Z", "event_version": "1.0", "other": [1]}',
        recorded_at=TIME,
    )

    assert stored.metadata == EventMetadata(ID, "user.registered", 1, TIME)
