"""Reading what is stored: events that the code can't make out."""

from __future__ import annotations

from perdure.errors.roots import PerdureError


class UnknownEventTypeError(PerdureError):
    """A stored event's type has no class here. Its raw data stays readable in `StoredEvent.event_data`."""

    def __init__(self, event_type: str, stream_id: str, stream_version: int) -> None:
        super().__init__(
            f"event type {event_type!r} (version {stream_version} of {stream_id!r}) has no class here: "
            "import the module that defines it, or define it again with @event"
        )
        self.event_type = event_type
        self.stream_id = stream_id
        self.stream_version = stream_version


class UnknownEventVersionError(PerdureError):
    """An event was written by newer code than this. Its raw data stays readable in `StoredEvent.event_data`."""

    def __init__(
        self, event_type: str, stream_id: str, stream_version: int, event_version: int, known_version: int
    ) -> None:
        super().__init__(
            f"event {event_type!r} (version {stream_version} of {stream_id!r}) was written by newer code: its schema "
            f"has version {event_version}, this code knows {known_version}: deploy the newer code here too"
        )
        self.event_type = event_type
        self.stream_id = stream_id
        self.stream_version = stream_version
        self.event_version = event_version
        self.known_version = known_version


class EventDecodingError(PerdureError):
    """A stored event doesn't fit its class. Its raw data stays readable in `StoredEvent.event_data`."""

    def __init__(self, event_type: str, stream_id: str, stream_version: int, reason: str, fix: str) -> None:
        super().__init__(
            f"event {event_type!r} (version {stream_version} of {stream_id!r}) doesn't fit its class: {reason}; {fix}"
        )
        self.event_type = event_type
        self.stream_id = stream_id
        self.stream_version = stream_version
        self.reason = reason
