"""`NewEvent`, an event to be written, and `StoredEvent`, an event that was read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec
from msgspec import UNSET

from perdure.checks import check_instance, checked_time
from perdure.context import checked_headers, current_context, current_sources
from perdure.errors import (
    EventDecodingError,
    UnknownEventTypeError,
    UnknownEventVersionError,
)
from perdure.events.metadata import EventMetadata, decode_metadata
from perdure.events.registry import EventType, Upcaster, registry

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder[Any]().decode


class NewEvent:
    """An event to be written: its payload, and metadata from the current context.

    The payload is encoded when the `NewEvent` is made. Later changes to the object given don't change what is written.

    Args:
        event: an object whose class is decorated with ``@event``.
        event_id: its id. Default: a new UUIDv7.
        timestamp: when it happened, with a time zone. Default: now.
        headers: added to those of the context.

    Raises:
        UnregisteredEventError: the class of `event` isn't decorated with ``@event``.
        EventEncodingError: it has a value of a wrong type, or one that can't be stored.
        InvalidArgumentError: the id isn't a UUID, the timestamp has no time zone, or a header isn't a string.

    Example:
        >>> from perdure import event
        >>> @event("lamp.lit")
        ... class LampLit:
        ...     watts: int
        >>> NewEvent(LampLit(watts=60)).event_data
        '{"watts":60}'
    """

    __slots__ = (
        "_event",
        "_unused",
        "context",
        "event_data",
        "event_id",
        "event_kind",
        "has_given_id",
        "is_derived",
        "timestamp",
    )

    def __init__(
        self,
        event: object,
        *,
        event_id: UUID | None = None,
        timestamp: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        sources = current_sources()
        if event_id is not None:
            check_instance("event_id", event_id, UUID)
        self.event_kind: EventType = registry.by_class(type(event))
        self.event_data: str
        """The payload as JSON text, as it will be stored."""
        # The object that was read back for the check is what `decode` returns first, because decoding takes long.
        self.event_data, self._unused = self.event_kind.codec.checked(event)
        self._event: Any = UNSET
        self.event_id: UUID = sources.new_id() if event_id is None else event_id
        self.has_given_id = event_id is not None
        self.is_derived = False
        self.timestamp: datetime = sources.now() if timestamp is None else checked_time("timestamp", timestamp)
        self.context = (
            current_context() if headers is None else current_context().with_headers(checked_headers(headers))
        )

    @property
    def event(self) -> Any:
        """The payload as it will be read: an object of its own, made from `event_data` at the first use."""
        event = self._event
        if event is UNSET:
            event = self._event = self.decode()
        return event

    def decode(self) -> Any:
        """Return `event` as a new object each time, for code that may change it."""
        event, self._unused = self._unused, UNSET
        return self.event_kind.codec.decode(self.event_data) if event is UNSET else event

    @property
    def metadata(self) -> EventMetadata:
        """The metadata of the event."""
        correlation_id, causation_id, user_id, headers = self.context
        return EventMetadata(
            event_id=self.event_id,
            event_type=self.event_kind.name,
            event_version=self.event_kind.version,
            timestamp=self.timestamp,
            correlation_id=correlation_id,
            causation_id=causation_id,
            user_id=user_id,
            headers=headers,
        )

    def __repr__(self) -> str:
        return f"NewEvent({self.event!r}, event_id={self.event_id})"


class StoredEvent(msgspec.Struct, eq=False, gc=False):
    """An event that was read from the store. Its payload is decoded at the first use of `event`.

    Attributes:
        stream_id: Its stream, ``category-id``.
        stream_version: Its version in the stream: 1, 2, 3 ...
        global_position: Its position in the log.
        event_id: Unique in the store.
        event_type: Its event type as written, which may now be an alias.
        event_version: Its schema version as written.
        event_data: The stored payload as JSON text. Readable even if this code has no class for the type.
        stored_metadata: The stored metadata as JSON text. See `metadata`.
        recorded_at: When the database stored it.
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
    _event: Any = UNSET
    _metadata: EventMetadata | None = None

    @property
    def event(self) -> Any:
        """The payload as an object of its class, upcast if it was written in an older version.

        Raises:
            UnknownEventTypeError: this code has no class for the type.
            UnknownEventVersionError: it was written in a newer version than that of the class.
            EventDecodingError: the data doesn't fit the class, or an upcaster fails or is missing.
        """
        event = self._event
        if event is UNSET:
            event = self._event = self.decode()
        return event

    @property
    def upcast_data(self) -> dict[str, Any]:
        """The payload as JSON in the current version of its class. A new dict each time.

        Raises the errors of `event`, but doesn't check that the data fits the class.
        """
        return self._upcast(self._kind())

    @property
    def metadata(self) -> EventMetadata:
        """The metadata of the event.

        Raises:
            EventDecodingError: another client wrote metadata that can't be read.
        """
        if self._metadata is None:
            self._metadata = self._decoded_metadata()
        return self._metadata

    @property
    def timestamp(self) -> datetime:
        """When it happened, in UTC. Raises the errors of `metadata`."""
        return self.metadata.timestamp

    def decode(self) -> Any:
        """Return `event` as a new object each time, for code that may change it."""
        kind = registry.by_name(self.event_type) or self._kind()
        data = self.event_data if self.event_version == kind.version else self._encoded(self._upcast(kind))
        try:
            return kind.codec.decode(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise self._error(str(error)) from error

    def _decoded_metadata(self) -> EventMetadata:
        try:
            return decode_metadata(self.stored_metadata, self.event_id, self.event_type, self.event_version)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise EventDecodingError(
                self.event_type,
                self.stream_id,
                self.stream_version,
                str(error),
                "read them as text in stored_metadata, and fix the client that wrote them",
                what="has metadata that can't be read",
            ) from error

    def _kind(self) -> EventType:
        kind = registry.by_name(self.event_type)
        if kind is None:
            raise UnknownEventTypeError(self.event_type, self.stream_id, self.stream_version)
        return kind

    def _upcast(self, kind: EventType) -> dict[str, Any]:
        if self.event_version > kind.version:
            raise UnknownEventVersionError(
                self.event_type, self.stream_id, self.stream_version, self.event_version, kind.version
            )
        data = self._decoded_data()
        for version in range(self.event_version, kind.version):
            upcaster = registry.upcaster(kind, self.event_type, version)
            if upcaster is None:
                raise self._error(
                    f"there is no upcaster from version {version}, and the class has version {kind.version}",
                    f"write one: @upcast({self.event_type!r}, from_version={version})",
                )
            data = self._step(upcaster, data)
        return cast("dict[str, Any]", data)

    def _decoded_data(self) -> Any:
        try:
            return _decode_json(self.event_data)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise self._error(str(error), "fix the client that wrote it") from error

    def _step(self, upcaster: Upcaster, data: Any) -> dict[str, Any]:
        arguments = (data, self.metadata) if upcaster.takes_metadata else (data,)
        try:
            changed = upcaster.function(*arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # BaseException, because the panic of a Rust extension isn't an Exception.
            raise self._error(f"its upcaster {upcaster} raised {error!r}", "fix the upcaster") from error
        if not isinstance(changed, dict):
            raise self._error(
                f"its upcaster {upcaster} returned a {type(changed).__name__}, not a dict", "fix the upcaster"
            )
        return cast("dict[str, Any]", changed)

    def _encoded(self, data: dict[str, Any]) -> bytes:
        try:
            return _encode_json(data)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._error(
                f"its upcasters returned a value that JSON can't hold: {error}", "fix the upcasters"
            ) from error

    def _error(self, reason: str, fix: str = "give new fields a default, or write an upcaster") -> EventDecodingError:
        return EventDecodingError(self.event_type, self.stream_id, self.stream_version, reason, fix)
