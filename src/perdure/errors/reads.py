"""Reading what is stored: events that the code can't make out, and a log that can't be read far enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from perdure.errors.roots import PerdureError


@dataclass(frozen=True, slots=True)
class FenceHolder:
    """A transaction that has appended and isn't ended. Readers go no further than the lowest floor.

    Attributes:
        floor: Every position that it may have drawn lies above.
        pid: Its process in the database; None for a prepared transaction, which has none.
        user_name: The database's user.
        application_name: What its connection calls itself.
        client_address: Where it comes from; None for a socket of the same machine.
        state: As in pg_stat_activity: ``active``, ``idle in transaction`` ... None when this user may not see it.
        begun_at: When the transaction began; None when this user may not see it.
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
            return f"pid {self.pid} ({name}; grant pg_read_all_stats to this user to see its state, and since when)"
        return f"pid {self.pid} ({name}, {self.state}, in its transaction since {self.begun_at:%Y-%m-%d %H:%M:%S %Z})"


class LogHeldBackError(PerdureError, TimeoutError):
    """The log can't be read up to a position yet: an append that is still open may come before it.

    Args:
        global_position: the position up to which the log was to be read.
        reached: the position up to which it can be read.
        on_standby: whether the server is a standby, which can be read up to what its primary has published.
        timeout: for how many seconds the read has waited.
        holders: the sessions whose appends are open, the lowest floor first, as far as they are known.
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
            names = "; ".join(map(str, holders)) or "a session that had ended before it could be named"
            why = f"held back by {names}: commit or end its transaction (pg_terminate_backend), or read without up_to"
        super().__init__(
            f"the log can be read up to position {reached} after {timeout:g} s, not yet up to {global_position}: {why}"
        )
        self.global_position = global_position
        self.reached = reached
        self.on_standby = on_standby
        self.timeout = timeout
        self.holders = tuple(holders)

    def after(self, timeout: float, holders: Sequence[FenceHolder]) -> Self:
        """The same error for a read that has waited, and knows the holders."""
        return type(self)(
            self.global_position, self.reached, on_standby=self.on_standby, timeout=timeout, holders=holders
        )


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
    """A stored event doesn't fit its class, or its metadata can't be read.

    What is stored stays readable as text, in `StoredEvent.event_data` and `StoredEvent.stored_metadata`.
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
