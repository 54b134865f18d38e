"""The port: a caller's transaction that appends take part in. Its implementations are with their stores."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Self
from uuid import UUID

from perdure.checks import check_function, check_instance, check_seconds
from perdure.errors import UnsupportedOperationError
from perdure.events import check_stream_id
from perdure.page_reader import PageReader
from perdure.snapshot import SnapshotStorage


class Transaction:
    """A caller's transaction that appends and reads take part in. Made by `EventStore.transaction`."""

    def __init__(self) -> None:
        self._after_commit: list[Callable[[], None]] = []
        self._appends: list[tuple[Sequence[UUID], Callable[[bool], None]]] = []

    @property
    def reader(self) -> PageReader:
        """Reads streams as the transaction sees them: with its own appends, and on its own connection.

        A store calls it after `EventStore.check_transaction`. What it reads isn't committed yet. So nothing may be read
        from the log by it: a position that is rolled back never belongs to an event.
        """
        raise UnsupportedOperationError(f"{type(self).__name__} can't be read in")

    @property
    def snapshots(self) -> SnapshotStorage | None:
        """Reads snapshots on the connection of the transaction; None if the store has none."""
        return None

    async def lock_stream(self, stream_id: str, timeout: float) -> None:
        """Keep every other writer of a stream waiting until the transaction ends.

        Args:
            stream_id: the stream.
            timeout: how long to wait for another writer, in seconds.

        Raises:
            AggregateBusyError: it was in use for that long. The transaction can't go on.
            TransactionError: the transaction isn't open.
        """
        check_stream_id(stream_id)
        check_seconds("timeout", timeout)
        raise UnsupportedOperationError(f"{type(self).__name__} can't lock a stream")

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the transaction is committed; never if it is rolled back.

        A rollback to a savepoint makes no difference: the callback is still called. See `when_settled`.
        """
        check_function("callback", callback)
        self._after_commit.append(callback)

    def when_settled(self, event_ids: Sequence[UUID], callback: Callable[[bool], None]) -> None:
        """Call `callback` once the outcome of an append in the transaction is known.

        It isn't called while the outcome is unknown, for example if the connection was lost during the commit.

        Args:
            event_ids: the ids of the events of the append.
            callback: called with True once the events are committed. It is called with False once the append is known
                to be undone, by a rollback of the transaction or to a savepoint before the append.

        Example:
            tx.when_settled(ids, lambda is_written: print("written" if is_written else "not written"))
        """
        check_instance("event_ids", event_ids, list, tuple)
        for event_id in event_ids:
            check_instance("event_ids", event_id, UUID)
        check_function("callback", callback)
        self._appends.append((event_ids, callback))

    def _take_back(self, *, all_but: Container[UUID] = ()) -> None:
        """Report each append as not written, the latest first, except those whose events are all in `all_but`."""
        appends, self._appends = self._appends, []
        for event_ids, callback in reversed(appends):
            if all(event_id in all_but for event_id in event_ids):
                self._appends.insert(0, (event_ids, callback))
            else:
                callback(False)  # noqa: FBT003 - the answer to "is it written?"

    def _confirm(self) -> None:
        """Report each remaining append as written, and call the callbacks of `after_commit`."""
        appends, self._appends = self._appends, []
        for _, callback in appends:
            callback(True)  # noqa: FBT003 - the answer to "is it written?"
        for after in self._after_commit:
            after()

    async def __aenter__(self) -> Self:
        raise UnsupportedOperationError(f"{type(self).__name__} can't be begun")

    async def __aexit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        raise UnsupportedOperationError(f"{type(self).__name__} can't be ended")
