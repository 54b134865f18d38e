"""An event store in memory: for tests and examples. It keeps every promise but durability."""

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

from perdure.checks import check_count, check_instance
from perdure.commit import ANY, PAYLOAD_LIMIT, STREAM_EXISTS, AppendResult, Commit, CommitGroup, ExpectedVersion
from perdure.errors import (
    EventIdReuseError,
    FenceHolder,
    LogDivergedError,
    OptimisticConcurrencyError,
    StoreClosedError,
    UnsupportedOperationError,
)
from perdure.events import StoredEvent, check_stream_id
from perdure.log import LogFilter, Page, SeenEvent
from perdure.log_reader import never_drawn
from perdure.snapshot import Snapshot, check_snapshot
from perdure.store import EventStore, StoredType
from perdure.transaction import Transaction


class InMemoryEventStore(EventStore):
    """Keeps events in lists of this process. Ready without ``async with``; refuses work once closed.

    Example:
        >>> import asyncio
        >>> asyncio.run(InMemoryEventStore().stream_version("user-123"))
        0
    """

    def __init__(self, *, payload_limit: int = PAYLOAD_LIMIT) -> None:
        super().__init__(payload_limit=payload_limit)
        self._log: list[StoredEvent] = []
        self._streams: dict[str, list[StoredEvent]] = {}
        self._by_id: dict[UUID, StoredEvent] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether it takes work."""
        return not self._closed

    async def open(self) -> None:
        """Make the store ready; what it held is still there."""
        self._closed = False

    async def close(self) -> None:
        """Refuse work from now on."""
        self._closed = True
        self.changes.announce()  # those who follow find it closed

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        """Write a commit. Raises as `append_to_stream` does."""
        [result] = await self.append_group(CommitGroup((commit,), {}), tx)
        return result

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        """Write a group of commits, all or nothing. Raises as `append_to_streams` does."""
        self._check_open()
        if tx is not None:
            raise UnsupportedOperationError("InMemoryEventStore has no transactions")
        if any(event_id in self._by_id for event_id in group.event_ids):
            return [self._repeated(commit, group) for commit in group.commits]
        expected = {commit.stream_id: commit.expected_version for commit in group.commits} | dict(group.conditions)
        for stream_id, version in expected.items():
            actual = len(self._streams.get(stream_id, []))
            if not _as_expected(version, actual):
                raise OptimisticConcurrencyError(stream_id, version, actual)
        results = [_result(self._write(commit)) for commit in group.commits]
        self.changes.announce()
        return results

    def _repeated(self, commit: Commit, group: CommitGroup) -> AppendResult:
        """The first result of a repeated commit; EventIdReuseError unless it was written as it is now."""
        known = [stored for one in commit.events if (stored := self._by_id.get(one.event_id))]
        first = known[0].stream_version if known else 0
        there = [(stored.stream_id, stored.stream_version, stored.event_id) for stored in known]
        if there != [(commit.stream_id, first + i, one.event_id) for i, one in enumerate(commit.events)]:
            raise EventIdReuseError(group.commits[0].stream_id, group.event_ids)
        return _result(known)

    def _write(self, commit: Commit) -> list[StoredEvent]:
        stream = self._streams.setdefault(commit.stream_id, [])
        for version, one in enumerate(commit.events, len(stream) + 1):
            stored = one.stored(commit.stream_id, version, len(self._log) + 1, datetime.now(UTC))
            self._log.append(stored)
            stream.append(stored)
            self._by_id[one.event_id] = stored
        return stream[-len(commit.events) :]

    async def stream_page(self, stream_id: str, from_version: int, limit: int | None) -> list[StoredEvent]:
        """The events of a stream strictly after `from_version`, oldest first."""
        self._check_open()
        stream = self._streams.get(stream_id, [])
        return [copy(stored) for stored in stream[from_version : None if limit is None else from_version + limit]]

    async def stream_page_backwards(self, stream_id: str, before_version: int, limit: int | None) -> list[StoredEvent]:
        """The events of a stream strictly before `before_version`, newest first."""
        self._check_open()
        earlier = self._streams.get(stream_id, [])[: max(0, before_version - 1)]
        return [copy(stored) for stored in earlier[::-1][:limit]]

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        """A page of the log strictly after `from_position`."""
        self._check_open()
        self._check_drawn(up_to)
        if seen is not None:
            self._check_seen(seen)
        found: list[StoredEvent] = []
        for stored in self._log[from_position:]:
            if len(found) == limit:
                return Page(found, found[-1].global_position if found else from_position)
            if where.matches(stored):
                found.append(copy(stored))
        end = self._log[-1:]
        if not end or end[0].global_position <= from_position:
            return Page(found, from_position)
        return Page(found, len(self._log), seen=SeenEvent(len(self._log), end[0].event_id))

    def _check_drawn(self, up_to: int) -> None:
        if up_to > len(self._log):
            raise never_drawn(up_to, len(self._log))

    def _check_seen(self, seen: SeenEvent) -> None:
        at = self._log[seen.global_position - 1 : seen.global_position]
        found = at[0].event_id if at else None
        if found != seen.event_id:
            raise LogDivergedError("the subscription", *seen, found)

    async def log_page_backwards(
        self, before_position: int, limit: int, where: LogFilter, *, up_to: int = 0
    ) -> list[StoredEvent]:
        """The events of the log strictly before `before_position`, newest first."""
        self._check_open()
        self._check_drawn(up_to)
        earlier = reversed(self._log[: max(0, before_position - 1)])
        return [copy(stored) for stored in islice(filter(where.matches, earlier), limit)]

    async def fence_holders(self, before_position: int) -> tuple[FenceHolder, ...]:
        """Nobody: what is appended here can be read at once."""
        self._check_open()
        return await super().fence_holders(before_position)

    async def stream_version(self, stream_id: str) -> int:
        """The version of a stream: that of its last event, 0 if there is none."""
        check_stream_id(stream_id)
        self._check_open()
        return len(self._streams.get(stream_id, []))

    async def read_event(self, event_id: UUID) -> StoredEvent | None:
        """The event with that id, or None."""
        check_instance("event_id", event_id, UUID)
        self._check_open()
        return copy(self._by_id.get(event_id))

    async def stored_types(self) -> list[StoredType]:
        """Each type in each version that there is, sorted."""
        self._check_open()
        positions: dict[tuple[str, int], list[int]] = {}
        for stored in self._log:
            positions.setdefault((stored.event_type, stored.event_version), []).append(stored.global_position)
        return [StoredType(*kind, len(found), found[0], found[-1]) for kind, found in sorted(positions.items())]

    async def sample_events(self, stored_type: StoredType, limit: int) -> list[StoredEvent]:
        """The oldest and the newest events of a type and version, at most `limit` of each, in log order."""
        check_instance("stored_type", stored_type, StoredType)
        check_count("limit", limit)
        self._check_open()
        kind = (stored_type.event_type, stored_type.event_version)
        found = [stored for stored in self._log if (stored.event_type, stored.event_version) == kind]
        few = found if len(found) <= 2 * limit else found[:limit] + found[len(found) - limit :]
        return [copy(stored) for stored in few]

    async def read_snapshot(self, stream_id: str) -> Snapshot | None:
        """The snapshot of a stream, if the log holds the very event after which it was taken; else None."""
        check_stream_id(stream_id)
        self._check_open()
        snapshot = self._snapshots.get(stream_id)
        last = self._by_id.get(snapshot.event_id) if snapshot else None
        fits = snapshot and last and (last.stream_id, last.stream_version) == (stream_id, snapshot.stream_version)
        return snapshot if fits else None

    async def write_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot of its stream, unless a later one is kept, of a version that the stream has reached."""
        check_snapshot(snapshot)
        self._check_open()
        stream_id = snapshot.stream_id
        kept = self._snapshots.get(stream_id)
        if not kept or not snapshot.stream_version < kept.stream_version <= len(self._streams.get(stream_id, [])):
            self._snapshots[stream_id] = snapshot

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError


def _as_expected(expected: ExpectedVersion, version: int) -> bool:
    return expected is ANY or (expected is STREAM_EXISTS and version > 0) or expected == version


def _result(written: list[StoredEvent]) -> AppendResult:
    last = written[-1]
    return AppendResult(last.stream_id, last.stream_version, tuple(stored.global_position for stored in written))
