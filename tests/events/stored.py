"""Events as a store of back then would hold them."""

from datetime import UTC, datetime

from perdure import StoredEvent, context
from perdure.testing import stored_event

HAPPENED = datetime(2030, 1, 1, tzinfo=UTC)


def stored(event_type: str, event_version: int = 1, **data: object) -> StoredEvent:
    with context(user_id="ann"):
        return stored_event(
            event_type, data, version=event_version, timestamp=HAPPENED, stream_id="user-1", stream_version=2
        )
