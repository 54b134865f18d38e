"""The port: what every event store promises. Its implementations are in `perdure.stores`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import UUID

from perdure.capability import Capability, StoreDatabase
from perdure.checks import check_count, check_instance, check_seconds
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
from perdure.errors import FenceHolder, ReadOnlyStoreError, StoreClosedError, UnsupportedOperationError
from perdure.events import StoredEvent, check_evolution, check_stream_id
from perdure.head import Head
from perdure.log import ChangeSignal, LogFilter, Page, SeenEvent
from perdure.log_reader import LogReader
from perdure.observation import Append, AppendToStreams, observer
from perdure.page_reader import PageReader, StoredType
from perdure.snapshot import Snapshot, SnapshotStorage, check_snapshot
from perdure.stream_reads import StreamReads
from perdure.tasks import Tasks
from perdure.transaction import Transaction


class EventStore(LogReader, StreamReads):
    """Streams of events under optimistic concurrency, and one global order that never skips an event.

    Use it as an async context manager.

    A store of your own subclasses this class. It gives `__init__` a `PageReader`, which reads what is stored, and
    implements `append`, `append_group`, `is_open`, `open` and `close`. It calls ``self.changes.announce()`` after each
    append, and names its `capabilities`. The conformance suite in `perdure.testing` checks the result. A store around
    another store passes on the `reader` and `snapshots` of the inner store.

    Args:
        reader: reads what is stored.
        snapshots: stores snapshots; None: the store has none, and repositories replay each stream from its first event.
        payload_limit: how many bytes the payload of an event may take.
        tasks: owns the background tasks of the store; None: a new owner.

    Attributes:
        reader: Reads what is stored, for stores around this one.
        snapshots: Stores snapshots, for stores around this one.
        payload_limit: How many bytes the payload of an event may take.
        changes: Announced after each append.
        head: Watches the end of the log for all followers.
        command_queues: The queues of commands on its aggregates, which all repositories of the store share.
    """

    def __init__(
        self,
        reader: PageReader,
        snapshots: SnapshotStorage | None = None,
        *,
        payload_limit: int = PAYLOAD_LIMIT,
        tasks: Tasks | None = None,
    ) -> None:
        check_count("payload_limit", payload_limit, 1)
        self.reader = reader
        self.snapshots = snapshots
        self.payload_limit = payload_limit
        self.tasks = tasks or Tasks("the event store", "follow")
        self.changes = ChangeSignal()
        self.head = Head(self, self.changes, self.tasks)
        self.command_queues: dict[Hashable, object] = {}

    async def append_to_stream(
        self,
        stream_id: str,
        expected_version: ExpectedVersion,
        events: Sequence[object],
        *,
        append_id: UUID | str | None = None,
        tx: Transaction | None = None,
    ) -> AppendResult:
        """Append events to a stream: all of them, or none.

        Two ways make it safe to repeat an append: keep its `NewEvent` objects, or give it an `append_id`. A repeat then
        writes nothing, and returns the first result. Without either, each call makes new ids: it is another append.

        Args:
            stream_id: ``category-id``, as in ``user-123``.
            expected_version: the version that the stream must have; see `ExpectedVersion`.
            events: payloads, or `NewEvent` where the id, timestamp or headers matter.
            append_id: the id of this append to this stream: a UUID or any text, such as the id of a request. The event
                ids follow from it. A repeat gives the first result, even if the events are others now.
            tx: a transaction of the caller that the append becomes part of.

        Raises:
            OptimisticConcurrencyError: the stream has another version.
            EventIdReuseError: event ids are stored already, in another place or with another content.
            OutcomeUnknownError: the connection failed; repeat with the same event ids, or the same `append_id`.
            EventEncodingError, PayloadTooLargeError, InvalidArgumentError: nothing was written.
            StoreOverloadedError, StoreUnavailableError, StoreClosedError: nothing was written.
        """
        if observer() is None:  # an operation costs little, but appends are many
            return await self.append(self.encode(stream_id, expected_version, events, append_id), tx)
        with Append(self, stream_id) as observed:
            commit = self.encode(stream_id, expected_version, events, append_id)
            observed.events = len(commit.events)
            result = await self.append(commit, tx)
            observed.stream_version, observed.global_position = result.stream_version, result.global_position
        return result

    async def append_to_streams(
        self,
        appends: Sequence[StreamAppend | tuple[str, ExpectedVersion, Sequence[object]]],
        *,
        conditions: Mapping[str, ExpectedVersion] | None = None,
        append_id: UUID | str | None = None,
        tx: Transaction | None = None,
    ) -> list[AppendResult]:
        """Append events to several streams at once: all of them, or none.

        In the log, the events are in the order given. A repeat is safe in the same ways as for one stream.

        Args:
            appends: for each stream its id, the version that it must have, and the events.
            conditions: the versions that other streams must have, which aren't written: what the decision relied on.
            append_id: the id of the append to each of the streams. A repeat must name the same streams.
            tx: a transaction of the caller that the append becomes part of.

        Returns:
            A result for each of `appends`, in their order.

        Raises:
            OptimisticConcurrencyError: a stream has another version; the error names the first such stream.
            EventIdReuseError, OutcomeUnknownError, and the other errors of `append_to_stream`.

        Example:
            await store.append_to_streams(
                [("account-ann", 3, [Withdrawn(amount=10)]), ("account-bob", 8, [Deposited(amount=10)])],
                conditions={"limits-ann": 1},
            )
        """
        with AppendToStreams(self) as observed:
            group = encode_group(appends, {} if conditions is None else conditions, self.payload_limit, append_id)
            observed.events = {commit.stream_id: len(commit.events) for commit in group.commits}
            results = await self.append_group(group, tx)
            observed.global_position = max([result.global_position for result in results])
        return results

    def transaction(self, connection: Any = None, *, commit: Any = "store") -> Transaction:  # noqa: ARG002 - for stores that have one
        """Return a transaction in which appends take part. Only stores with the capability ``transactions`` have one.

        Raises:
            UnsupportedOperationError: the store has no transactions.
        """
        raise UnsupportedOperationError(f"{type(self).__name__} has no transactions: there is no connection for one")

    @asynccontextmanager
    async def exclusively(self, stream_id: str, timeout: float) -> AsyncGenerator[Transaction | None]:
        """Keep every other writer of a stream waiting while the block runs, in all processes.

        Read and append with the transaction that the block is given. It is None for a store that lives in one process
        and has no transactions, such as the one in memory. There, only other such blocks and commands wait, and an
        append that comes in between makes the block's own a conflict.

        Args:
            stream_id: the stream.
            timeout: how long to wait for another writer, in seconds.

        Raises:
            AggregateBusyError: the stream was in use for that long. Nothing was written.
            UnsupportedOperationError: the store has no transactions.
        """
        check_stream_id(stream_id)
        check_seconds("timeout", timeout)
        async with self.transaction() as tx:
            await tx.lock_stream(stream_id, timeout)
            yield tx

    async def stored_types(self) -> list[StoredType]:
        """Return each type in each version that is stored, sorted. It may read the whole log."""
        self.check_usable()
        return await self.reader.stored_types()

    async def sample_events(self, stored_type: StoredType, limit: int) -> list[StoredEvent]:
        """Return events of a type and version in log order: at most `limit` of the oldest, and `limit` of the newest.

        The first and the last are among them. A store may return fewer of the others, if finding them takes long.
        """
        check_instance("stored_type", stored_type, StoredType)
        check_count("limit", limit)
        self.check_usable()
        return await self.reader.sample_events(stored_type, limit)

    async def write_snapshot(self, snapshot: Snapshot) -> None:
        """Store a snapshot of its stream, unless there is a later one of a version that the stream has reached.

        A store without snapshots does nothing: a snapshot is a cache.
        """
        check_snapshot(snapshot)
        self._check_may_write()
        if self.snapshots is not None:
            await self.snapshots.write(snapshot)

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        """Return a page of the log strictly after `from_position`. See `PageReader.log_page`."""
        self.check_usable()
        return await self.reader.log_page(from_position, limit, where, seen, up_to=up_to)

    async def log_page_backwards(
        self, before_position: int, limit: int, where: LogFilter, *, up_to: int = 0
    ) -> list[StoredEvent]:
        """Return events of the log, newest first. See `PageReader.log_page_backwards`."""
        self.check_usable()
        return await self.reader.log_page_backwards(before_position, limit, where, up_to=up_to)

    async def fence_holders(self, before_position: int) -> tuple[FenceHolder, ...]:
        """Return the sessions whose open appends may still be given a position up to this one, as far as known."""
        self.check_usable()
        return await self.reader.fence_holders(before_position)

    def encode(
        self,
        stream_id: str,
        expected_version: ExpectedVersion,
        events: Sequence[object],
        append_id: UUID | str | None = None,
    ) -> Commit:
        """Check and encode what `append` writes, in the caller's task."""
        return encode_commit(stream_id, expected_version, events, self.payload_limit, append_id)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the store offers beyond the promises that every store keeps; the conformance suite tests each.

        ``database``: `database` isn't None. ``notifications``: other processes' followers read an append at once.
        ``snapshots``: what `write_snapshot` stores comes back. ``transactions``: `transaction` returns one.
        """
        return frozenset() if self.snapshots is None else frozenset({"snapshots"})

    @property
    def database(self) -> StoreDatabase | None:
        """The PostgreSQL database of the store; None if it has none, and so no place for tables of projections."""
        return None

    @property
    def is_read_only(self) -> bool:
        """Whether the store refuses appends."""
        return False

    @property
    def is_listening(self) -> bool | None:
        """Whether appends of other processes wake followers in this one; None while nothing listens for them."""
        return None

    def check_usable(self) -> None:
        """Raise unless the store is open (StoreClosedError), and may be used in this process and event loop."""
        if not self.is_open:
            raise StoreClosedError

    def check_alive(self) -> None:
        """Raise unless the store is usable and its background tasks run. The database isn't asked.

        Raises:
            StoreClosedError, WrongContextError: the store is closed, or was opened elsewhere.
            BackgroundTaskError: a background task has failed for a minute, or won't be started again.
        """
        self.check_usable()
        self.tasks.check_alive()

    def check_running(self) -> None:
        """Raise as `check_alive` does, but at the first error of a background task."""
        self.check_usable()
        self.tasks.check_running()

    async def check_writable(self) -> None:
        """Raise unless the store answers, and accepts appends if it isn't read only."""
        await self.stream_version("perdure-health")

    async def check_schema(self) -> None:
        """Raise SchemaOutdatedError or SchemaTooNewError unless the stored data fits this version of Perdure."""
        self.check_usable()

    def wake(self) -> None:
        """Make all followers of the log read at once, here and in other processes, as after an append."""
        self.changes.announce()

    @abstractmethod
    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        """Write a commit: all of its events in one step, or none. Raises as `append_to_stream` does.

        If the event ids are stored as a run of events in the stream, in this order, nothing is written, and their
        places are returned, after `check_contents`, as a result that `is_repeat`. If the commit has an `append_id`, it
        is enough that the first of its ids is stored: the result is about all ids that follow from it. Otherwise, raise
        EventIdReuseError if an event id is stored already; then OptimisticConcurrencyError if the stream doesn't have
        the expected version.
        """

    @abstractmethod
    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        """Write commits to several streams in one step, in the order given, or none. Raises as `append` does.

        The `conditions` of the group are checked in the same step: no append may happen between check and write.
        """

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether the store accepts work: it was opened, and isn't closed."""

    @abstractmethod
    async def open(self) -> None:
        """Make the store ready. Called by ``async with``."""

    @abstractmethod
    async def close(self) -> None:
        """Write what is queued, release all resources, and announce `changes` so that followers find it closed."""

    def _check_may_write(self) -> None:
        self.check_usable()
        if self.is_read_only:
            raise ReadOnlyStoreError

    async def __aenter__(self) -> Self:
        check_evolution()
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()
