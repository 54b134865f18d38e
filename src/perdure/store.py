"""The port: what an event store promises, whatever it is built on. The stores themselves are in `perdure.stores`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self
from uuid import UUID

import msgspec

from perdure.checks import check_count, check_instance
from perdure.commit import (
    PAYLOAD_LIMIT,
    AppendResult,
    Commit,
    CommitGroup,
    ExpectedVersion,
    StreamAppend,
    encode_commit,
    encode_group,
)
from perdure.errors import UnsupportedOperationError
from perdure.events import StoredEvent, check_evolution, check_stream_id
from perdure.head import Head
from perdure.log import ChangeSignal, PageSize, make_filter
from perdure.log_reader import LogReader, checked_end
from perdure.observation import Append, AppendToStreams, observer
from perdure.snapshot import Snapshot
from perdure.subscription import Subscription
from perdure.tasks import Tasks
from perdure.transaction import Transaction


class StoredType(msgspec.Struct, frozen=True):
    """A type of events in one version of its schema, as the store holds it.

    Attributes:
        event_type: The stored name.
        event_version: The version of the schema.
        count: How many such events there are.
        first_position: The place of the oldest in the whole log.
        last_position: The place of the newest.
    """

    event_type: str
    event_version: int
    count: int
    first_position: int
    last_position: int


class EventStore(LogReader):
    """Streams of events under optimistic concurrency, and one global order that never skips an event.

    Use it as an async context manager. Implementations provide what is abstract, and prove themselves with the
    conformance suite in `perdure.testing`.

    Args:
        payload_limit: how many bytes the payload of an event may take.
    """

    def __init__(self, *, payload_limit: int = PAYLOAD_LIMIT) -> None:
        check_count("payload_limit", payload_limit, 1)
        self.payload_limit = payload_limit
        self.tasks = Tasks("the event store", "follow")
        self.changes = ChangeSignal()
        self.head = Head(self, self.changes, self.tasks)

    async def append_to_stream(
        self,
        stream_id: str,
        expected_version: ExpectedVersion,
        events: Sequence[object],
        *,
        tx: Transaction | None = None,
    ) -> AppendResult:
        """Write events at the end of a stream: all of them, or none.

        Repeating an append with the same event ids is safe: it is written once, and the first result comes back.

        Args:
            stream_id: ``category-id``, as in ``user-123``.
            expected_version: the version that the stream must have; see `ExpectedVersion`.
            events: payloads, or `NewEvent` where id, timestamp or headers matter.
            tx: the caller's transaction, when the append is to be part of it.

        Raises:
            OptimisticConcurrencyError: the stream has another version.
            EventIdReuseError: some of the event ids are stored already, but not as this append.
            OutcomeUnknownError: the connection failed; repeat with the same event ids.
            EventEncodingError, PayloadTooLargeError, InvalidArgumentError: nothing was written.
            StoreOverloadedError, StoreUnavailableError, StoreClosedError: nothing was written.
        """
        if observer() is None:  # what an operation takes is little, but appends are many
            return await self.append(self.encode(stream_id, expected_version, events), tx)
        with Append(self, stream_id) as observed:
            commit = self.encode(stream_id, expected_version, events)
            observed.events = len(commit.events)
            result = await self.append(commit, tx)
            observed.stream_version, observed.global_position = result.stream_version, result.global_position
        return result

    async def append_to_streams(
        self,
        appends: Sequence[StreamAppend | tuple[str, ExpectedVersion, Sequence[object]]],
        *,
        conditions: Mapping[str, ExpectedVersion] | None = None,
        tx: Transaction | None = None,
    ) -> list[AppendResult]:
        """Write to several streams at once: all of it, or nothing.

        The events stand in the log in the order given. Repeating it with the same event ids is safe, as for one stream.

        Args:
            appends: for each stream its id, the version that it must have, and the events.
            conditions: the version that further streams must have, which aren't written: what the decision relied on.
            tx: the caller's transaction, when the append is to be part of it.

        Returns:
            A result for each of `appends`, in their order.

        Raises:
            OptimisticConcurrencyError: a stream has another version; it names the first.
            EventIdReuseError, OutcomeUnknownError, and the other errors of `append_to_stream`.

        Example:
            await store.append_to_streams(
                [("account-ann", 3, [Withdrawn(amount=10)]), ("account-bob", 8, [Deposited(amount=10)])],
                conditions={"limits-ann": 1},
            )
        """
        with AppendToStreams(self) as observed:
            group = encode_group(appends, {} if conditions is None else conditions, self.payload_limit)
            observed.events = {commit.stream_id: len(commit.events) for commit in group.commits}
            results = await self.append_group(group, tx)
            observed.global_position = max([result.global_position for result in results])
        return results

    async def read_stream(
        self, stream_id: str, from_version: int = 0, max_count: int | None = None
    ) -> list[StoredEvent]:
        """The events of a stream strictly after `from_version`, oldest first; at most `max_count`."""
        check_stream_id(stream_id)
        check_count("from_version", from_version)
        if max_count is not None:
            check_count("max_count", max_count)
        return await self.stream_page(stream_id, from_version, max_count)

    async def read_stream_backwards(
        self, stream_id: str, before_version: int | None = None, max_count: int | None = None
    ) -> list[StoredEvent]:
        """The events of a stream strictly before `before_version` (None: all), newest first; at most `max_count`."""
        check_stream_id(stream_id)
        before_version = checked_end("before_version", before_version)
        if max_count is not None:
            check_count("max_count", max_count)
        return await self.stream_page_backwards(stream_id, before_version, max_count)

    async def last_event(self, stream_id: str) -> StoredEvent | None:
        """The last event of a stream; None if there is none."""
        return next(iter(await self.read_stream_backwards(stream_id, max_count=1)), None)

    async def iterate_stream(self, stream_id: str, from_version: int = 0) -> AsyncGenerator[StoredEvent]:
        """The same as `read_stream`, a page at a time, so that memory stays bounded."""
        async with aclosing(stream_pages(self, stream_id, from_version)) as pages:
            async for page in pages:
                for stored in page:
                    yield stored

    def subscribe(
        self,
        from_position: int = 0,
        *,
        from_event_id: UUID | None = None,
        category: str | None = None,
        event_types: Sequence[str | type] | None = None,
    ) -> Subscription:
        """Follow the log from a position: first what is there, then what is appended, as it comes.

        It ends only by errors that can't pass; others it waits out. `Subscription.position` is its checkpoint.

        Args:
            from_position: where to begin; 0 is the beginning.
            from_event_id: the event that must stand there, else LogDivergedError: the log isn't the one that was read.
            category: only streams of this category.
            event_types: only these types, by stored name or class.

        Example:
            async for stored in store.subscribe(checkpoint):
                print(stored.global_position, stored.event)
        """
        check_count("from_position", from_position)
        if from_event_id is not None:
            check_instance("from_event_id", from_event_id, UUID)
        return Subscription(self, from_position, from_event_id, make_filter(category, event_types))

    def transaction(self, connection: Any = None, *, commit: Any = "store") -> Transaction:  # noqa: ARG002 - for stores that have one
        """A transaction in which appends take part. Only stores on a database have one."""
        raise UnsupportedOperationError(f"{type(self).__name__} has no transactions: there is no connection for one")

    def encode(self, stream_id: str, expected_version: ExpectedVersion, events: Sequence[object]) -> Commit:
        """Check and encode what is to be appended, in the caller's task, before it meets anybody else's."""
        return encode_commit(stream_id, expected_version, events, self.payload_limit)

    def check_alive(self) -> None:
        """Raise if the store can't work, and only a restart of the process can help. It asks no database.

        Raises:
            StoreClosedError, WrongContextError: the store is closed, or was opened elsewhere.
            BackgroundTaskError: a background task has failed for a minute, or won't be started again.
        """
        self.tasks.check_alive()

    def check_running(self) -> None:
        """Raise unless all background tasks of the store do their work. Raises as `check_alive`, at the first error."""
        self.check_alive()
        self.tasks.check_running()

    @abstractmethod
    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        """Write a commit. Raises as `append_to_stream` does."""

    @abstractmethod
    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        """Write a group of commits, all or nothing. Raises as `append_to_streams` does."""

    @abstractmethod
    async def stream_page(self, stream_id: str, from_version: int, limit: int | None) -> list[StoredEvent]:
        """The events of a stream strictly after `from_version`, oldest first."""

    @abstractmethod
    async def stream_page_backwards(self, stream_id: str, before_version: int, limit: int | None) -> list[StoredEvent]:
        """The events of a stream strictly before `before_version`, newest first."""

    @abstractmethod
    async def stream_version(self, stream_id: str) -> int:
        """The version of a stream: that of its last event, 0 if there is none."""

    @abstractmethod
    async def read_event(self, event_id: UUID) -> StoredEvent | None:
        """The event with that id, or None."""

    @abstractmethod
    async def stored_types(self) -> list[StoredType]:
        """Each type in each version that there is, sorted. It reads the whole log, where that can't be avoided."""

    @abstractmethod
    async def sample_events(self, stored_type: StoredType, limit: int) -> list[StoredEvent]:
        """Some events of a type and version, in log order: at most `limit` of the oldest, and as many of the newest.

        The first and the last are among them. A store gives fewer of the others where finding them would take long.
        """

    @abstractmethod
    async def read_snapshot(self, stream_id: str) -> Snapshot | None:
        """The snapshot of a stream, if the log holds the very event after which it was taken; else None."""

    @abstractmethod
    async def write_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot of its stream, unless a later one is kept, of a version that the stream has reached."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether it takes work: it was opened, and isn't closed."""

    @abstractmethod
    async def open(self) -> None:
        """Make the store ready. Called by ``async with``."""

    @abstractmethod
    async def close(self) -> None:
        """Write what is queued, and let go of everything. Called by ``async with``."""

    async def __aenter__(self) -> Self:
        check_evolution()
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


async def stream_pages(store: EventStore, stream_id: str, from_version: int) -> AsyncGenerator[list[StoredEvent]]:
    """What `EventStore.iterate_stream` reads, as it is read: to await each event takes longer than most handlers do."""
    size = PageSize()
    while page := await store.read_stream(stream_id, from_version, limit := size.limit):
        yield page
        from_version = page[-1].stream_version
        if len(page) < limit:
            return
        size.learn(page)
