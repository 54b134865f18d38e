"""An event store in memory, for tests and examples. It keeps every promise except durability."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from datetime import UTC, datetime
from itertools import count, islice, takewhile
from uuid import UUID

from perdure.checks import check_seconds
from perdure.commit import PAYLOAD_LIMIT, AppendResult, Commit, CommitGroup, is_expected
from perdure.errors import (
    AggregateBusyError,
    EventIdReuseError,
    LogDivergedError,
    OptimisticConcurrencyError,
    UnsupportedOperationError,
)
from perdure.events import StoredEvent, check_stream_id
from perdure.log import LogFilter, Page, SeenEvent
from perdure.log_reader import never_drawn
from perdure.page_reader import PageReader
from perdure.repeat import check_contents
from perdure.snapshot import Snapshot
from perdure.store import EventStore
from perdure.stream_locks import StreamLocks
from perdure.transaction import Transaction


class InMemoryEventStore(EventStore):
    """Holds events in lists of this process. It needs no ``async with``, and refuses work once it is closed.

    Example:
        >>> import asyncio
        >>> asyncio.run(InMemoryEventStore().stream_version("user-123"))
        0
    """

    def __init__(self, *, payload_limit: int = PAYLOAD_LIMIT) -> None:
        self._log: list[StoredEvent] = []
        self._streams: dict[str, list[StoredEvent]] = {}
        self._by_id: dict[UUID, StoredEvent] = {}
        self._snapshots: dict[str, Snapshot] = {}
        super().__init__(
            ListReader(self._log, self._streams, self._by_id),
            DictSnapshots(self._snapshots, self._streams, self._by_id),
            payload_limit=payload_limit,
        )
        self._closed = False
        self._stream_locks = StreamLocks()

    @property
    def is_open(self) -> bool:
        """Whether the store accepts work."""
        return not self._closed

    async def open(self) -> None:
        """Make the store ready again. It still holds its events."""
        self._closed = False

    async def close(self) -> None:
        """Refuse work from now on."""
        self._closed = True
        self.changes.announce()  # followers find the store closed

    @asynccontextmanager
    async def exclusively(self, stream_id: str, timeout: float) -> AsyncGenerator[Transaction | None]:
        """Let one block at a time hold a stream. See `EventStore.exclusively`. Other appends don't wait for it."""
        check_stream_id(stream_id)
        check_seconds("timeout", timeout)
        self.check_usable()
        async with AsyncExitStack() as lock:
            try:
                async with asyncio.timeout(timeout):
                    await lock.enter_async_context(self._stream_locks.held([stream_id]))
            except TimeoutError:
                raise AggregateBusyError(stream_id, timeout) from None
            yield None

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        """Write a commit. Raises as `append_to_stream` does."""
        [result] = await self.append_group(CommitGroup((commit,), {}), tx)
        return result

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        """Write a group of commits, all or nothing. Raises as `append_to_streams` does."""
        self.check_usable()
        if tx is not None:
            raise UnsupportedOperationError("InMemoryEventStore has no transactions")
        if any(event_id in self._by_id for event_id in group.event_ids):
            return self._repeated(group)
        expected = {commit.stream_id: commit.expected_version for commit in group.commits} | dict(group.conditions)
        for stream_id, version in expected.items():
            actual = len(self._streams.get(stream_id, []))
            if not is_expected(actual, version):
                raise OptimisticConcurrencyError(stream_id, version, actual)
        results = [_result(self._write(commit)) for commit in group.commits]
        self.changes.announce()
        return results

    def _repeated(self, group: CommitGroup) -> list[AppendResult]:
        """Return the first results of a repeated group. Raise EventIdReuseError if it was written differently."""
        found = [self._in_place(commit) for commit in group.commits]
        if not all(found):
            raise EventIdReuseError(group.commits[0].stream_id, group.event_ids)
        check_contents(group.commits, [stored for events in found for stored in events])
        return [_result(events, is_repeat=True) for events in found]

    def _in_place(self, commit: Commit) -> list[StoredEvent]:
        """Return the stored events of a commit; none of them if they aren't stored in its place."""
        if commit.append_id is not None:
            ids = takewhile(self._by_id.__contains__, map(commit.append_id.event_id, count()))
            return [self._by_id[event_id] for event_id in ids]
        known = [stored for one in commit.events if (stored := self._by_id.get(one.event_id))]
        first = known[0].stream_version if known else 0
        there = [(stored.stream_id, stored.stream_version, stored.event_id) for stored in known]
        expected = [(commit.stream_id, first + i, one.event_id) for i, one in enumerate(commit.events)]
        return known if there == expected else []

    def _write(self, commit: Commit) -> list[StoredEvent]:
        stream = self._streams.setdefault(commit.stream_id, [])
        for version, one in enumerate(commit.events, len(stream) + 1):
            stored = one.stored(commit.stream_id, version, len(self._log) + 1, datetime.now(UTC))
            self._log.append(stored)
            stream.append(stored)
            self._by_id[one.event_id] = stored
        return stream[-len(commit.events) :]


class ListReader(PageReader):
    """Reads the lists of a store in memory. Each event that it returns is a copy.

    Args:
        log: all events in order.
        streams: the events of each stream.
        by_id: the events by their ids.
    """

    def __init__(
        self, log: list[StoredEvent], streams: dict[str, list[StoredEvent]], by_id: dict[UUID, StoredEvent]
    ) -> None:
        self._events = log
        self._streams = streams
        self._by_id = by_id

    async def stream_page(
        self, stream_id: str, from_version: int, limit: int | None, event_types: tuple[str, ...] | None = None
    ) -> list[StoredEvent]:
        """Return the events of a stream strictly after `from_version`, oldest first."""
        later = self._streams.get(stream_id, [])[from_version:]
        return [copy(stored) for stored in _of_types(later, event_types)[:limit]]

    async def stream_page_backwards(
        self, stream_id: str, before_version: int, limit: int | None, event_types: tuple[str, ...] | None = None
    ) -> list[StoredEvent]:
        """Return the events of a stream strictly before `before_version`, newest first."""
        earlier = self._streams.get(stream_id, [])[: max(0, before_version - 1)]
        return [copy(stored) for stored in _of_types(earlier[::-1], event_types)[:limit]]

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        """Return a page of the log strictly after `from_position`."""
        self._check_drawn(up_to)
        if seen is not None:
            self._check_seen(seen)
        found: list[StoredEvent] = []
        for stored in self._events[from_position:]:
            if len(found) == limit:
                return Page(found, found[-1].global_position if found else from_position)
            if where.matches(stored):
                found.append(copy(stored))
        end = self._events[-1:]
        if not end or end[0].global_position <= from_position:
            return Page(found, from_position)
        return Page(found, len(self._events), seen=SeenEvent(len(self._events), end[0].event_id))

    async def log_page_backwards(
        self, before_position: int, limit: int, where: LogFilter, *, up_to: int = 0
    ) -> list[StoredEvent]:
        """Return the events of the log strictly before `before_position`, newest first."""
        self._check_drawn(up_to)
        earlier = reversed(self._events[: max(0, before_position - 1)])
        return [copy(stored) for stored in islice(filter(where.matches, earlier), limit)]

    async def read_event(self, event_id: UUID) -> StoredEvent | None:
        """Return the event with that id, or None."""
        return copy(self._by_id.get(event_id))

    def _check_drawn(self, up_to: int) -> None:
        if up_to > len(self._events):
            raise never_drawn(up_to, len(self._events))

    def _check_seen(self, seen: SeenEvent) -> None:
        at = self._events[seen.global_position - 1 : seen.global_position]
        found = at[0].event_id if at else None
        if found != seen.event_id:
            raise LogDivergedError("the subscription", *seen, found)


class DictSnapshots:
    """The snapshots of a store in memory.

    Args:
        snapshots: the snapshot of each stream.
        streams: the events of each stream.
        by_id: the events by their ids.
    """

    def __init__(
        self,
        snapshots: dict[str, Snapshot],
        streams: dict[str, list[StoredEvent]],
        by_id: dict[UUID, StoredEvent],
    ) -> None:
        self._snapshots = snapshots
        self._streams = streams
        self._by_id = by_id

    async def read(self, stream_id: str) -> Snapshot | None:
        """Return the snapshot of a stream, if the log still has the event after which it was taken; else None."""
        snapshot = self._snapshots.get(stream_id)
        last = self._by_id.get(snapshot.event_id) if snapshot else None
        fits = snapshot and last and (last.stream_id, last.stream_version) == (stream_id, snapshot.stream_version)
        return snapshot if fits else None

    async def write(self, snapshot: Snapshot) -> None:
        """Store a snapshot, unless there is a later one of a version that the stream has reached."""
        stream_id = snapshot.stream_id
        stored = self._snapshots.get(stream_id)
        if not stored or not snapshot.stream_version < stored.stream_version <= len(self._streams.get(stream_id, [])):
            self._snapshots[stream_id] = snapshot


def _of_types(events: list[StoredEvent], event_types: tuple[str, ...] | None) -> list[StoredEvent]:
    return events if event_types is None else [stored for stored in events if stored.event_type in event_types]


def _result(events: list[StoredEvent], *, is_repeat: bool = False) -> AppendResult:
    last = events[-1]
    return AppendResult(last.stream_id, last.stream_version, tuple([one.global_position for one in events]), is_repeat)
