"""Reads: events that this code can't decode, and a log that isn't readable far enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from perdure.errors.roots import PerdureError


@dataclass(frozen=True, slots=True)
class FenceHolder:
    """A transaction that has appended events and hasn't ended. Readers stop at the lowest floor.

    Attributes:
        floor: A position below all that the transaction may have been assigned.
        pid: Its server process; None for a prepared transaction.
        user_name: Its database user.
        application_name: The application_name of its connection.
        client_address: The address of its client; None for a Unix socket.
        state: As in pg_stat_activity: ``active``, ``idle in transaction`` ... None if this user may not see it.
        begun_at: When the transaction began; None if this user may not see it.
    """

    floor: int
    pid: int | None
    user_name: str | None
    application_name: str | None
    client_address: str | None
    state: str | None
    begun_at: datetime | None

    def __str__(self) -> str:
        if self.pid is None:
            return "a prepared transaction (see pg_prepared_xacts)"
        name = self.application_name or "unnamed"
        if self.begun_at is None:
            return f"pid {self.pid} ({name}; grant pg_read_all_stats to this user to see its state and start)"
        return f"pid {self.pid} ({name}, {self.state}, in its transaction since {self.begun_at:%Y-%m-%d %H:%M:%S %Z})"


class LogHeldBackError(PerdureError, TimeoutError):
    """The log isn't readable up to a position yet: an append before that position may still be open.

    Args:
        global_position: the requested position.
        reached: the position up to which the log is readable.
        on_standby: whether the server is a standby, which is readable up to the position that its primary published.
        timeout: how many seconds the read waited.
        holders: the known sessions with open appends, lowest floor first.
    """

    is_transient = True

    def __init__(
        self,
        global_position: int,
        reached: int,
        *,
        on_standby: bool = False,
        timeout: float = 0.0,
        holders: Sequence[FenceHolder] = (),
    ) -> None:
        if on_standby:
            why = "this standby has no later position: does it lag, and is a store that may append open on the primary?"
        else:
            names = "; ".join(map(str, holders)) or "a session that ended before it could be named"
            why = f"held back by {names}: commit or end its transaction (pg_terminate_backend), or read without up_to"
        super().__init__(
            f"after {timeout:g} s, the log is readable up to position {reached}, not yet up to {global_position}: {why}"
        )
        self.global_position = global_position
        self.reached = reached
        self.on_standby = on_standby
        self.timeout = timeout
        self.holders = tuple(holders)

    def after(self, timeout: float, holders: Sequence[FenceHolder]) -> Self:
        """Return this error with the time that the read waited, and the holders."""
        return type(self)(
            self.global_position, self.reached, on_standby=self.on_standby, timeout=timeout, holders=holders
        )


class UnknownEventTypeError(PerdureError):
    """This code has no class for the type of a stored event. Its raw data is in `StoredEvent.event_data`."""

    def __init__(self, event_type: str, stream_id: str, stream_version: int) -> None:
        super().__init__(
            f"event type {event_type!r} (version {stream_version} of {stream_id!r}) has no class in this code: "
            "import the module that defines it, or define it again with @event"
        )
        self.event_type = event_type
        self.stream_id = stream_id
        self.stream_version = stream_version


class UnknownEventVersionError(PerdureError):
    """Newer code than this wrote an event. Its raw data is in `StoredEvent.event_data`."""

    def __init__(
        self, event_type: str, stream_id: str, stream_version: int, event_version: int, known_version: int
    ) -> None:
        super().__init__(
            f"event {event_type!r} (version {stream_version} of {stream_id!r}) was written by newer code: its schema "
            f"has version {event_version}, but this code knows only {known_version}: deploy the newer code here, too"
        )
        self.event_type = event_type
        self.stream_id = stream_id
        self.stream_version = stream_version
        self.event_version = event_version
        self.known_version = known_version


class EventDecodingError(PerdureError):
    """A stored event doesn't fit its class, or its metadata can't be read.

    The stored texts are in `StoredEvent.event_data` and `StoredEvent.stored_metadata`.
    """

    def __init__(
        self,
        event_type: str,
        stream_id: str,
        stream_version: int,
        reason: str,
        fix: str,
        *,
        what: str = "doesn't fit its class",
    ) -> None:
        super().__init__(f"event {event_type!r} (version {stream_version} of {stream_id!r}) {what}: {reason}; {fix}")
        self.event_type = event_type
        self.stream_id = stream_id
        self.stream_version = stream_version
        self.reason = reason
