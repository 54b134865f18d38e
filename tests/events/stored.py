"""Events as a store of back then would hold them."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from perdure import StoredEvent

HAPPENED = datetime(2030, 1, 1, tzinfo=UTC)


def stored(event_type: str, event_version: int = 1, **data: object) -> StoredEvent:
    metadata = '{"timestamp":"2030-01-01T00:00:00Z","user_id":"ann"}'
    text = msgspec.json.encode(data).decode()
    return StoredEvent("user-1", 2, 7, UUID(int=1), event_type, event_version, text, metadata, HAPPENED)
