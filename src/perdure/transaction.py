"""The port: a transaction of the caller's, in which appends take part. Its implementations are with their stores."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Self
from uuid import UUID

from perdure.checks import check_function, check_instance
from perdure.errors import UnsupportedOperationError


class Transaction:
    """A transaction of the caller's in which appends take part. Made by `EventStore.transaction`."""

    def __init__(self) -> None:
        self._after_commit: list[Callable[[], None]] = []
        self._appends: list[tuple[Sequence[UUID], Callable[[bool], None]]] = []

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call this once the transaction is committed; never when it is rolled back.

        What a savepoint undoes doesn't count: the callback is called all the same. See `when_settled`.
        """
        check_function("callback", callback)
        self._after_commit.append(callback)

    def when_settled(self, event_ids: Sequence[UUID], callback: Callable[[bool], None]) -> None:
        """Call this once it is known what became of an append that was made in the transaction.

        It isn't called as long as that is unknown, as when the connection was lost during the commit.

        Args:
            event_ids: those of the append.
            callback: called with True once the events are committed; with False once it is known that they weren't,
                because the whole transaction was rolled back, or a savepoint before the append.

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
