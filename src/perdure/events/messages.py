"""The event as it is written and as it is read: `NewEvent`, `StoredEvent`, and their `EventMetadata`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from perdure.context import checked_headers, current_context, current_sources
from perdure.errors import EventDecodingError, InvalidArgumentError, UnknownEventTypeError
from perdure.events.definition import EventType, registry


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


class NewEvent:
    """An event to be written: the payload, and its metadata from the context in which it was made.

    Args:
        event: an object whose class bears ``@event``.
        event_id: its id, when it must be a certain one; else a new UUIDv7.
        timestamp: when it happened, aware; else now.
        headers: added to those of the context.

    Raises:
        UnregisteredEventError: the class of `event` bears no ``@event``.
        InvalidArgumentError: the id is no UUID, the timestamp is naive, or a header is no text.
    """

    __slots__ = ("event", "event_kind", "metadata")

    def __init__(
        self,
        event: object,
        *,
        event_id: UUID | None = None,
        timestamp: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        kind = registry.by_class(type(event))
        sources = current_sources()
        correlation_id, causation_id, user_id, around = current_context()
        if event_id is not None and not isinstance(event_id, UUID):
            raise InvalidArgumentError("event_id", f"must be a UUID, not {type(event_id).__name__}")
        if timestamp is not None and (not isinstance(timestamp, datetime) or timestamp.tzinfo is None):
            raise InvalidArgumentError("timestamp", f"{timestamp!r} is no aware datetime: give it a time zone, as UTC")
        self.event = event
        self.event_kind: EventType = kind
        self.metadata = EventMetadata(
            event_id=event_id or sources.new_id(),
            event_type=kind.name,
            event_version=kind.version,
            timestamp=timestamp.astimezone(UTC) if timestamp else sources.now(),
            correlation_id=correlation_id,
            causation_id=causation_id,
            user_id=user_id,
            headers={**around, **checked_headers(headers)} if headers else around,
        )

    def __repr__(self) -> str:
        return f"NewEvent({self.event!r}, event_id={self.metadata.event_id})"


class _StoredMetadata(msgspec.Struct, omit_defaults=True):
    """The part of the metadata that has no column of its own. Written as JSON."""

    timestamp: datetime
    correlation_id: str | None = None
    causation_id: str | None = None
    user_id: str | None = None
    headers: Mapping[str, str] = {}


_encode_metadata = msgspec.json.Encoder().encode
_decode_metadata = msgspec.json.Decoder(_StoredMetadata).decode


def encode_metadata(metadata: EventMetadata) -> str:
    """The JSON text of the column `metadata`."""
    return _encode_metadata(
        _StoredMetadata(
            metadata.timestamp,
            metadata.correlation_id,
            metadata.causation_id,
            metadata.user_id,
            metadata.headers,
        )
    ).decode()


class StoredEvent(msgspec.Struct, eq=False):
    """An event as it was read. The payload is decoded when `event` is first asked for.

    Attributes:
        stream_id: The stream it belongs to, ``category-id``.
        stream_version: Its place in the stream: 1, 2, 3 ...
        global_position: Its place in the whole log.
        event_id: Unique in the store.
        event_type: The stored name of its type.
        event_version: The version of its schema, as it was written.
        event_data: The payload as it is stored: JSON text. Readable even when the type has no class here.
        stored_metadata: The metadata as it is stored: JSON text. See `metadata`.
        recorded_at: When the database took it.
    """

    stream_id: str
    stream_version: int
    global_position: int
    event_id: UUID
    event_type: str
    event_version: int
    event_data: str
    stored_metadata: str
    recorded_at: datetime
    _event: Any = msgspec.UNSET
    _metadata: EventMetadata | None = None

    @property
    def event(self) -> Any:
        """The payload as an object of its class.

        Raises:
            UnknownEventTypeError: no class here bears this type.
            EventDecodingError: the data doesn't fit the class.
        """
        if self._event is msgspec.UNSET:
            self._event = self._decode()
        return self._event

    @property
    def metadata(self) -> EventMetadata:
        """What is known of the event beside its payload."""
        if self._metadata is None:
            stored = _decode_metadata(self.stored_metadata)
            self._metadata = EventMetadata(
                event_id=self.event_id,
                event_type=self.event_type,
                event_version=self.event_version,
                timestamp=stored.timestamp,
                correlation_id=stored.correlation_id,
                causation_id=stored.causation_id,
                user_id=stored.user_id,
                headers=stored.headers,
            )
        return self._metadata

    @property
    def timestamp(self) -> datetime:
        """When it happened (UTC)."""
        return self.metadata.timestamp

    def _decode(self) -> Any:
        kind = registry.by_name(self.event_type)
        if kind is None:
            raise UnknownEventTypeError(self.event_type, self.stream_id, self.stream_version)
        try:
            return kind.codec.decode(self.event_data)
        except msgspec.MsgspecError as error:
            raise EventDecodingError(self.event_type, self.stream_id, self.stream_version, str(error)) from error
