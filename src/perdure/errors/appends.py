"""Appending: conflicts, ids used twice, outcomes that aren't known."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from uuid import UUID

from perdure.errors.formats import shown_ids
from perdure.errors.roots import PerdureError


class OptimisticConcurrencyError(PerdureError):
    """The stream isn't at the expected version: somebody else appended first. Nothing was written.

    Load again and decide again, or let `Repository.save_with_retry` and `Repository.execute` do so.
    """

    def __init__(self, stream_id: str, expected_version: int | Enum, actual_version: int) -> None:
        expected = expected_version.name if isinstance(expected_version, Enum) else expected_version
        super().__init__(
            f"stream {stream_id!r} is at version {actual_version}, expected was {expected}: "
            "load it again and decide again, as execute() and save_with_retry() do"
        )
        self.stream_id = stream_id
        self.expected_version = expected_version
        self.actual_version = actual_version


class EventIdReuseError(PerdureError):
    """Some event ids of an append are stored already, but not as this very append. Nothing was written."""

    def __init__(self, stream_id: str, event_ids: Sequence[UUID]) -> None:
        super().__init__(
            f"an append to {stream_id!r} reuses event ids of another append ({shown_ids(event_ids)}): "
            "draw a new id for each new event, and repeat an append only as a whole"
        )
        self.stream_id = stream_id
        self.event_ids = tuple(event_ids)


class OutcomeUnknownError(PerdureError):
    """The connection failed while an append was under way: it may be written or not.

    Repeating it with the same event ids is safe: it is written once, and the first result comes back. `event_ids` is
    empty where a transaction of the caller's without appends was under way: then look for what it should have written.
    """

    def __init__(self, event_ids: Sequence[UUID]) -> None:
        super().__init__(
            f"it is not known whether the append was written ({shown_ids(event_ids)}): "
            "repeat it with the same event ids, which never writes twice"
            if event_ids
            else "it is not known whether the transaction was committed: look for what it should have written"
        )
        self.event_ids = tuple(event_ids)


class StoreOverloadedError(PerdureError):
    """A queue was full, a stream was locked, a turn didn't come, or no connection of the pool was free, for too long.

    Nothing was written, or read.
    """

    is_transient = True

    def __init__(
        self, reason: str, timeout: float, outcome: str = "nothing was written: slow down, or try again later"
    ) -> None:
        super().__init__(f"{reason} for {timeout:g} s and {outcome}")
        self.reason = reason
        self.timeout = timeout
