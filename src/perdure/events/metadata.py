"""`EventMetadata`, and its storage as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from perdure.context import Context
from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown


class EventMetadata(msgspec.Struct, frozen=True):
    """The metadata of an event.

    Attributes:
        event_id: Unique in the store (UUIDv7). Repeating an append with the same ids never writes twice.
        event_type: The stored name, as given to ``@event``.
        event_version: The version of the event's schema, as given to ``@event``.
        timestamp: When it happened, in UTC, as the writer says. `StoredEvent.recorded_at` is when it was stored.
        correlation_id: Common to all events of one request.
        causation_id: Its cause: the id of an event or a command.
        user_id: The user that caused it.
        headers: Anything else, as text.

    Raises:
        InvalidArgumentError: the version isn't a whole number.
    """

    event_id: UUID
    event_type: str
    event_version: int
    timestamp: datetime
    correlation_id: str | None = None
    causation_id: str | None = None
    user_id: str | None = None
    headers: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        if type(self.event_version) is not int:
            raise InvalidArgumentError(
                "event_version", f"{shown(self.event_version)} isn't a whole number: count 1, 2, 3 ..."
            )


class _StoredMetadata(msgspec.Struct, omit_defaults=True):
    """The metadata without its own columns, stored as JSON."""

    timestamp: datetime
    correlation_id: str | None = None
    causation_id: str | None = None
    user_id: str | None = None
    headers: Mapping[str, str] = {}


_encode_metadata = msgspec.json.Encoder().encode
_decode_metadata = msgspec.json.Decoder(_StoredMetadata).decode


def encode_metadata(timestamp: datetime, context: Context) -> str:
    """Return the JSON text for the column `metadata`."""
    return _encode_metadata(_StoredMetadata(timestamp, *context)).decode()


def decode_metadata(text: str, event_id: UUID, event_type: str, event_version: int) -> EventMetadata:
    """Return the metadata from the column `metadata` and the other columns."""
    stored = _decode_metadata(text)
    return EventMetadata(
        event_id,
        event_type,
        event_version,
        stored.timestamp,
        stored.correlation_id,
        stored.causation_id,
        stored.user_id,
        stored.headers,
    )
