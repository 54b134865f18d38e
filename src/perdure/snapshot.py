"""`Snapshot`: the state after the first events of a stream, stored so that they needn't be replayed."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import msgspec

from perdure.checks import check_count, check_instance, check_text
from perdure.errors import InvalidArgumentError
from perdure.events import check_stream_id


class Snapshot(msgspec.Struct, frozen=True):
    """A state, and the event after which it was taken. It is only a cache: the events alone count.

    Attributes:
        stream_id: The stream whose events made the state.
        stream_version: The number of these events, which is the version of the last one.
        event_id: The id of the last event. If a log doesn't have it there, the state wasn't made from that log.
        state_version: The version of the rules that made the state.
        state_shape: A hash of what the state consists of.
        state: The state as JSON text.
    """

    stream_id: str
    stream_version: int
    event_id: UUID
    state_version: int
    state_shape: str
    state: str


class SnapshotStorage(Protocol):
    """Where a store keeps its snapshots. `EventStore` calls it with checked arguments, while the store is open."""

    async def read(self, stream_id: str) -> Snapshot | None:
        """Return the snapshot of a stream, if the log still has the event after which it was taken; else None."""
        ...

    async def write(self, snapshot: Snapshot) -> None:
        """Store a snapshot, unless there is a later one of a version that the stream has reached."""
        ...


def check_snapshot(snapshot: object) -> None:
    """Raise InvalidArgumentError unless it is a snapshot that a store can hold."""
    if not isinstance(snapshot, Snapshot):
        raise InvalidArgumentError("snapshot", f"must be a Snapshot, not {type(snapshot).__name__}")
    check_stream_id(snapshot.stream_id)
    check_count("stream_version", snapshot.stream_version, 0, 2**31 - 1)
    check_instance("event_id", snapshot.event_id, UUID)
    check_count("state_version", snapshot.state_version, 0, 2**31 - 1)
    check_text("state_shape", snapshot.state_shape)
    check_text("state", snapshot.state)
