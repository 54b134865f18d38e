"""What an aggregate has decided and no store has taken yet. Its repository works with it; users rarely need it."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from perdure.context import Context
from perdure.events import NewEvent


class RecordedCommand(NamedTuple):
    """A command as it was called, so that it can be decided again on fresh state."""

    method: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: Context
    """The context of the call. Events that the command raises when it is decided again belong to the same request."""
    from_version: int
    """The aggregate's version before it."""
    to_version: int
    """The aggregate's version after it: its events lie between."""


class PendingAppend(NamedTuple):
    """An append that was sent, and may be written or not."""

    version: int
    """The version of its last event."""
    streams: frozenset[str] = frozenset()
    """All streams of the append if it may be repeated only as a whole; else empty."""


class SnapshotTaker(Protocol):
    """Takes the snapshots of a repository."""

    async def write_if_due(self, saved: Any) -> None:
        """Write a snapshot of an aggregate that was saved if one is due. Never raises an `Exception`."""


class Undo:
    """The aggregate as a running command found it, to restore it when the command raises."""

    __slots__ = ("event_count", "state", "version")

    def __init__(self, version: int, event_count: int, state: dict[str, Any]) -> None:
        self.version = version
        self.event_count = event_count
        self.state = state


class Uncommitted:
    """Events and commands of one aggregate, in order, since the version that the store knows of.

    Attributes:
        events: the events to append.
        commands: the calls that decided them, outermost calls only.
        running: an `Undo` for each command under way, outermost first.
        applying: whether a handler is under way.
        held: whether a repository may replace the state at any moment, so that no command may change it.
        pending: the appends of the first events that may be written already, oldest first.
        loaded: whether the aggregate began with what its stream held, if only with nothing.
        unconfirmed: the last event that was loaded in a caller's transaction, while it may still be rolled back; else
            None.
        snapshots: takes the snapshots of the repository that loaded the aggregate; None if it takes none.
    """

    __slots__ = ("applying", "commands", "events", "held", "loaded", "pending", "running", "snapshots", "unconfirmed")

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.commands: list[RecordedCommand] = []
        self.running: list[Undo] = []
        self.applying = False
        self.held = False
        self.pending: list[PendingAppend] = []
        self.loaded = False
        self.unconfirmed: UUID | None = None
        self.snapshots: SnapshotTaker | None = None

    @property
    def decided_by_commands(self) -> bool:
        """Whether commands produced all the events, so that they can be decided again."""
        return sum(one.to_version - one.from_version for one in self.commands) == len(self.events)

    @property
    def pending_with(self) -> frozenset[str]:
        """The streams that must be saved together with the aggregate; empty if it may be saved by itself."""
        return frozenset([stream_id for one in self.pending for stream_id in one.streams])

    def drop(self, count: int, version: int) -> None:
        """Forget the first events, which are stored now, and the commands up to that version of the aggregate."""
        del self.events[:count]
        self.commands = [one for one in self.commands if one.to_version > version]
        del self.pending[: bisect(self.pending, version, key=_version)]
        if count:
            self.unconfirmed = None  # it is before what is stored now

    def add_pending(self, version: int, streams: frozenset[str] = frozenset()) -> bool:
        """Record that an append may be written. Return False if that was recorded before.

        Args:
            version: the version of its last event.
            streams: all streams of the append if it may be repeated only as a whole.
        """
        if any(one.version == version for one in self.pending):
            return False
        insort(self.pending, PendingAppend(version, streams), key=_version)
        return True

    def drop_pending(self, from_version: int = 0) -> None:
        """Record that neither the append up to that version nor any later one is written."""
        self.pending = [one for one in self.pending if one.version < from_version]


_version = attrgetter("version")
