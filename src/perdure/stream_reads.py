"""`StreamReads`: the reads of one stream that every store offers, outside of transactions and in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from uuid import UUID

from perdure.checks import check_count, check_instance
from perdure.errors import UnsupportedOperationError
from perdure.events import StoredEvent, check_stream_id
from perdure.log import checked_types
from perdure.log_reader import checked_end
from perdure.page_reader import PageReader, stream_pages
from perdure.snapshot import Snapshot, SnapshotStorage
from perdure.transaction import Transaction


class StreamReads(ABC):
    """Reads streams, and what belongs to one stream or event. See `EventStore`.

    Each read takes ``tx``, a transaction of the caller. Then it sees what was appended in that transaction, and uses no
    other connection. Until the transaction is committed, these events and their positions aren't final.
    """

    reader: PageReader
    snapshots: SnapshotStorage | None

    @abstractmethod
    def check_usable(self) -> None:
        """Raise unless the store is open, and may be used here."""

    async def read_stream(
        self,
        stream_id: str,
        from_version: int = 0,
        max_count: int | None = None,
        *,
        event_types: Sequence[str | type] | None = None,
        tx: Transaction | None = None,
    ) -> list[StoredEvent]:
        """Return the events of a stream strictly after `from_version`, oldest first.

        Args:
            stream_id: the stream.
            from_version: where to begin; 0 is the beginning. For the next page, give the last event's version.
            max_count: how many events at most; None for all. Events of other types don't count.
            event_types: only these types, by stored name or class; a class includes its earlier names.
            tx: read in this transaction of the caller, with its own appends. All reads of streams take it.

        Raises:
            InvalidArgumentError: an argument can't be used.
            TransactionError: `tx` isn't open, or is of another store.

        Example:
            paid = await store.read_stream("order-1", event_types=[PaymentTaken, "order.refunded"])
        """
        check_stream_id(stream_id)
        check_count("from_version", from_version)
        if max_count is not None:
            check_count("max_count", max_count)
        types = None if event_types is None else checked_types(event_types)
        self.check_usable()
        return await self._reader(tx).stream_page(stream_id, from_version, max_count, types)

    async def read_stream_backwards(
        self,
        stream_id: str,
        before_version: int | None = None,
        max_count: int | None = None,
        *,
        event_types: Sequence[str | type] | None = None,
        tx: Transaction | None = None,
    ) -> list[StoredEvent]:
        """Return events of a stream strictly before `before_version` (None: all), newest first; at most `max_count`.

        `event_types` and `tx` are as in `read_stream`.
        """
        check_stream_id(stream_id)
        before_version = checked_end("before_version", before_version)
        if max_count is not None:
            check_count("max_count", max_count)
        types = None if event_types is None else checked_types(event_types)
        self.check_usable()
        return await self._reader(tx).stream_page_backwards(stream_id, before_version, max_count, types)

    async def last_event(
        self,
        stream_id: str,
        *,
        event_types: Sequence[str | type] | None = None,
        tx: Transaction | None = None,
    ) -> StoredEvent | None:
        """Return the last event of a stream, or the last of these types; None if there is none."""
        found = await self.read_stream_backwards(stream_id, max_count=1, event_types=event_types, tx=tx)
        return next(iter(found), None)

    async def iterate_stream(
        self,
        stream_id: str,
        from_version: int = 0,
        *,
        event_types: Sequence[str | type] | None = None,
        tx: Transaction | None = None,
    ) -> AsyncGenerator[StoredEvent]:
        """Iterate over what `read_stream` returns, a page at a time, so that memory stays bounded."""
        async with aclosing(stream_pages(self, stream_id, from_version, event_types, tx)) as pages:
            async for page in pages:
                for stored in page:
                    yield stored

    async def stream_version(self, stream_id: str, *, tx: Transaction | None = None) -> int:
        """Return the version of a stream: that of its last event, 0 if it has none."""
        check_stream_id(stream_id)
        self.check_usable()
        return await self._reader(tx).stream_version(stream_id)

    async def read_event(self, event_id: UUID, *, tx: Transaction | None = None) -> StoredEvent | None:
        """Return the event with that id, or None."""
        check_instance("event_id", event_id, UUID)
        self.check_usable()
        return await self._reader(tx).read_event(event_id)

    async def read_snapshot(self, stream_id: str, *, tx: Transaction | None = None) -> Snapshot | None:
        """Return the snapshot of a stream, if the log still has the event after which it was taken; else None."""
        check_stream_id(stream_id)
        self.check_usable()
        if tx is not None:
            self.check_transaction(tx)
        snapshots = self.snapshots if tx is None else tx.snapshots
        return None if snapshots is None else await snapshots.read(stream_id)

    def check_transaction(self, tx: object) -> None:
        """Raise unless `tx` is a transaction of this store.

        Raises:
            TransactionError: it is of another store, or no transaction at all.
            UnsupportedOperationError: the store has no transactions.
        """
        raise UnsupportedOperationError(f"{type(self).__name__} has no transactions, but got tx={type(tx).__name__}")

    def _reader(self, tx: Transaction | None) -> PageReader:
        if tx is None:
            return self.reader
        self.check_transaction(tx)
        return tx.reader
