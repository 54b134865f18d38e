"""What an append writes and returns. Events are checked and encoded before they are queued or reach a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from perdure.context import Context, current_context, current_sources
from perdure.errors import EventEncodingError, InvalidArgumentError, PayloadTooLargeError
from perdure.errors.formats import shown
from perdure.event_ids import AppendId
from perdure.events import (
    EventType,
    NewEvent,
    StoredEvent,
    check_own_stream,
    check_stream_id,
    encode_metadata,
    registry,
)
from perdure.observation import observed_headers


class StreamState(Enum):
    """An expected version that isn't a number.

    Attributes:
        ANY: Any version; for facts that need no decision.
        STREAM_EXISTS: The stream has at least one event.
    """

    ANY = "any"
    STREAM_EXISTS = "stream_exists"


NO_STREAM: Final = 0
"""Expected version: the stream has no event yet."""
STREAM_EXISTS: Final = StreamState.STREAM_EXISTS
"""Expected version: the stream has at least one event."""
ANY: Final = StreamState.ANY
"""Expected version: any version; for facts that need no decision."""

ExpectedVersion = int | StreamState
"""The version that a stream must have for an append to be written: a number, NO_STREAM, STREAM_EXISTS or ANY."""

PAYLOAD_LIMIT: Final = 1024 * 1024
"""How many bytes the payload of an event may take by default."""
MAX_VERSION: Final = 2**31 - 1


class AppendResult(msgspec.Struct, frozen=True, eq=False, gc=False, repr_omit_defaults=True):
    """The version and the positions that the events of an append were given.

    Attributes:
        stream_version: The version of the stream after the append: that of the last event.
        global_positions: The position of each event in the whole log, in the order given.
        is_repeat: Whether the events were found under their ids, and not written now. It may also be True if the
            connection was lost: the store sends the append again, and finds what its first attempt has written. A
            repeat gets an equal result, so this isn't compared.
    """

    stream_id: str
    stream_version: int
    global_positions: tuple[int, ...]
    is_repeat: bool = False

    @property
    def global_position(self) -> int:
        """The position of the last event: a projection that has reached it shows this append."""
        return self.global_positions[-1]

    @property
    def _place(self) -> tuple[str, int, tuple[int, ...]]:
        return self.stream_id, self.stream_version, self.global_positions

    def __eq__(self, other: object) -> bool:
        return self._place == other._place if isinstance(other, AppendResult) else NotImplemented

    def __ne__(self, other: object) -> bool:  # a Struct has its own, which compares all fields
        return not self == other

    def __hash__(self) -> int:
        return hash(self._place)


class EncodedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as a store gets it: encoded, and checked to be readable."""

    event_id: UUID
    event_type: str
    event_version: int
    event_data: str
    metadata: str
    is_derived: bool = False
    """Whether the id follows from that of a command or an append. Under such an id, the first content is kept, and a
    later one is ignored. Under any other id, another content is an error."""

    def stored(self, stream_id: str, stream_version: int, global_position: int, recorded_at: datetime) -> StoredEvent:
        """Return the event as it is read once it is stored there."""
        return StoredEvent(
            stream_id,
            stream_version,
            global_position,
            self.event_id,
            self.event_type,
            self.event_version,
            self.event_data,
            self.metadata,
            recorded_at,
        )


class Commit(msgspec.Struct, frozen=True, gc=False):
    """What one append writes, all or nothing."""

    stream_id: str
    expected_version: ExpectedVersion
    events: tuple[EncodedEvent, ...]
    size: int
    """Bytes of payload and metadata, for the limits of a batch."""
    append_id: AppendId | None = None
    """The id from which those of its events follow. A repeat may have another number of events."""

    @property
    def event_ids(self) -> list[UUID]:
        """The ids of its events."""
        return [event.event_id for event in self.events]

    def stored_ids(self, result: AppendResult) -> list[UUID]:
        """Return the ids of the events that a result is about: a repeat may have another number of events."""
        return self.event_ids if self.append_id is None else self.append_id.event_ids(len(result.global_positions))


class StreamAppend(NamedTuple):
    """The part of an append to several streams that concerns one stream. A plain tuple of the three works, too."""

    stream_id: str
    expected_version: ExpectedVersion
    events: Sequence[object]
    """Payloads, or `NewEvent` where the id, timestamp or headers matter."""


class CommitGroup(NamedTuple):
    """What an append to several streams writes, all or nothing."""

    commits: tuple[Commit, ...]
    conditions: Mapping[str, ExpectedVersion]
    """The versions that other streams must have, which aren't written."""

    @property
    def event_ids(self) -> list[UUID]:
        """The ids of all the events."""
        return [event_id for commit in self.commits for event_id in commit.event_ids]

    def expected_version(self, stream_id: str) -> ExpectedVersion:
        """Return the version that one of the streams must have."""
        written = {commit.stream_id: commit.expected_version for commit in self.commits}
        return written[stream_id] if stream_id in written else self.conditions[stream_id]


def check_expected_version(expected: object) -> None:
    """Raise InvalidArgumentError unless it is an expected version."""
    if isinstance(expected, StreamState):
        return
    if not isinstance(expected, int) or isinstance(expected, bool) or not 0 <= expected <= MAX_VERSION:
        raise InvalidArgumentError(
            "expected_version",
            f"{shown(expected)} isn't a version: use the stream's version, NO_STREAM (or 0), STREAM_EXISTS or ANY",
        )


def is_expected(version: int, expected: ExpectedVersion) -> bool:
    """Whether a stream of that version has the expected one."""
    return expected is ANY or (expected is STREAM_EXISTS and version > 0) or expected == version


def encode_commit(
    stream_id: str,
    expected_version: ExpectedVersion,
    events: Sequence[object],
    payload_limit: int,
    append_id: UUID | str | None = None,
) -> Commit:
    """Check and encode an append to a stream. With an `append_id`, the ids of the events follow from it."""
    check_stream_id(stream_id)
    check_own_stream(stream_id)
    check_expected_version(expected_version)
    _check_events(events)
    if not events:
        raise InvalidArgumentError("events", "is empty: there is nothing to append, so leave the call out")
    headers = observed_headers()
    sources, around = current_sources(), _with_observed(headers, current_context())
    size = 0
    encoded: list[EncodedEvent] = []
    for one in events:
        if isinstance(one, NewEvent):
            stored = encode_metadata(one.timestamp, _with_observed(headers, one.context))
            event = _encoded(one.event_kind, one.event_data, one.event_id, stored, payload_limit)
            if one.is_derived:
                event = replace(event, is_derived=True)
        else:  # as NewEvent(one), which takes longer to make
            kind = registry.by_class(type(one))
            event_id = sources.new_id()
            data, _ = kind.codec.checked(one)
            event = _encoded(kind, data, event_id, encode_metadata(sources.now(), around), payload_limit)
        size += len(event.event_data) + len(event.metadata)
        encoded.append(event)
    if len(encoded) > 1:
        _refuse_doubles([event.event_id for event in encoded])
    commit = Commit(stream_id, expected_version, tuple(encoded), size)
    return commit if append_id is None else _identified(commit, events, append_id)


def _identified(commit: Commit, events: Sequence[object], append_id: UUID | str) -> Commit:
    """Return the commit with the ids that follow from that of the append."""
    known = AppendId(append_id, commit.stream_id)
    for one in events:
        if isinstance(one, NewEvent) and one.has_given_id:
            raise InvalidArgumentError(
                "append_id",
                "gives the events their ids, but one has an event_id of its own: leave one out",
            )
    derived = [replace(one, event_id=known.event_id(i), is_derived=True) for i, one in enumerate(commit.events)]
    return replace(commit, events=tuple(derived), append_id=known)


def encode_group(
    appends: Sequence[StreamAppend | tuple[str, ExpectedVersion, Sequence[object]]],
    conditions: Mapping[str, ExpectedVersion],
    payload_limit: int,
    append_id: UUID | str | None = None,
) -> CommitGroup:
    """Check and encode an append to several streams."""
    if not isinstance(appends, Sequence):
        raise InvalidArgumentError("appends", f"must be a list of appends, not {type(appends).__name__}")
    if not appends:
        raise InvalidArgumentError("appends", "is empty: there is nothing to append")
    if not isinstance(conditions, Mapping):
        raise InvalidArgumentError(
            "conditions", f"must be a dict of expected versions, not {type(conditions).__name__}"
        )
    commits = tuple([encode_commit(*_checked(one), payload_limit, append_id) for one in appends])
    streams = [commit.stream_id for commit in commits]
    for stream_id, expected_version in conditions.items():
        check_stream_id(stream_id)
        check_expected_version(expected_version)
        streams.append(stream_id)
    if len(set(streams)) < len(streams):
        raise InvalidArgumentError("appends", "names a stream twice: give all of its events, and its version, once")
    group = CommitGroup(commits, dict(conditions))
    _refuse_doubles(group.event_ids)
    return group


def _checked(
    append: StreamAppend | tuple[str, ExpectedVersion, Sequence[object]],
) -> StreamAppend | tuple[str, ExpectedVersion, Sequence[object]]:
    if not isinstance(append, tuple) or len(append) != 3:
        raise InvalidArgumentError("appends", f"holds {shown(append)}, not (stream_id, expected_version, events)")
    return append


def _with_observed(headers: Mapping[str, str], context: Context) -> Context:
    if not headers:
        return context
    correlation_id, causation_id, user_id, own = context
    return Context(correlation_id, causation_id, user_id, {**headers, **own})


def _encoded(kind: EventType, data: str, event_id: UUID, metadata: str, payload_limit: int) -> EncodedEvent:
    size = len(data) if data.isascii() else len(data.encode())
    if size > payload_limit:
        raise PayloadTooLargeError(kind.name, size, payload_limit)
    if len(metadata) > payload_limit:
        raise EventEncodingError(kind.name, f"its metadata takes {len(metadata):,} bytes")
    return EncodedEvent(event_id, kind.name, kind.version, data, metadata)


def _check_events(events: object) -> None:
    if type(events) is list:  # the usual case; the other checks are slower
        return
    if isinstance(events, str | bytes) or not isinstance(events, Sequence):
        raise InvalidArgumentError("events", f"must be a list of events, not {type(events).__name__}")


def _refuse_doubles(event_ids: Sequence[UUID]) -> None:
    if len({event_id.int for event_id in event_ids}) < len(event_ids):  # the hash of a UUID runs in Python, and is slow
        raise InvalidArgumentError("events", "holds the same event id twice: make a NewEvent for each event")
