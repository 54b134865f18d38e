"""`EventMetadata`: what is known of an event beside its payload, and how that is stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from perdure.context import Context


class EventMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an event beside its payload.

    Attributes:
        event_id: Unique in the store (UUIDv7). Repeating an append with the same ids never writes twice.
        event_type: The stored name, as given to ``@event``.
        event_version: The version of the event's schema, as given to ``@event``.
        timestamp: When it happened (UTC); the writer may say. When the database took it is `StoredEvent.recorded_at`.
        correlation_id: Common to all that one request set in motion.
        causation_id: What brought this about: the id of an event or of a command.
        user_id: Who did it.
        headers: Anything else, as text.
    """

    event_id: UUID
    event_type: str
    event_version: int = 1
    timestamp: datetime
    correlation_id: str | None = None
    causation_id: str | None = None
    user_id: str | None = None
    headers: Mapping[str, str] = {}


class _StoredMetadata(msgspec.Struct, omit_defaults=True):
    """The part of the metadata that has no column of its own. Written as JSON."""

    timestamp: datetime
    correlation_id: str | None = None
    causation_id: str | None = None
    user_id: str | None = None
    headers: Mapping[str, str] = {}


_encode_metadata = msgspec.json.Encoder().encode
_decode_metadata = msgspec.json.Decoder(_StoredMetadata).decode


def encode_metadata(timestamp: datetime, context: Context) -> str:
    """The JSON text of the column `metadata`."""
    return _encode_metadata(_StoredMetadata(timestamp, *context)).decode()


def decode_metadata(text: str, event_id: UUID, event_type: str, event_version: int) -> EventMetadata:
    """The metadata that `encode_metadata` made this text from, with what has columns of its own."""
    stored = _decode_metadata(text)
    return EventMetadata(
        event_id=event_id,
        event_type=event_type,
        event_version=event_version,
        timestamp=stored.timestamp,
        correlation_id=stored.correlation_id,
        causation_id=stored.causation_id,
        user_id=stored.user_id,
        headers=stored.headers,
    )
