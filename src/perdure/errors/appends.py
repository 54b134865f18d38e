"""Appends: conflicts, reused event ids, unknown outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from uuid import UUID

from perdure.errors.formats import shown, shown_ids
from perdure.errors.roots import PerdureError


class OptimisticConcurrencyError(PerdureError):
    """The stream isn't at the expected version: another writer appended first. Nothing was written.

    Load the aggregate again and run the command again. `Repository.save_with_retry` and `Repository.execute` do that.
    """

    def __init__(self, stream_id: str, expected_version: int | Enum, actual_version: int) -> None:
        expected = expected_version.name if isinstance(expected_version, Enum) else expected_version
        super().__init__(
            f"stream {stream_id!r} is at version {actual_version}, but {expected} was expected: "
            "load it again and run the command again, as execute() and save_with_retry() do"
        )
        self.stream_id = stream_id
        self.expected_version = expected_version
        self.actual_version = actual_version


class EventIdReuseError(PerdureError):
    """An append contains event ids that another append has stored already. Nothing was written."""

    def __init__(self, stream_id: str, event_ids: Sequence[UUID]) -> None:
        super().__init__(
            f"an append to {stream_id!r} reuses event ids of another append ({shown_ids(event_ids)}): "
            "use a new id for each new event, and repeat an append only as a whole"
        )
        self.stream_id = stream_id
        self.event_ids = tuple(event_ids)


class CommandIdReuseError(PerdureError):
    """A command has the id of an earlier command, but another fingerprint. Nothing was written, or decided.

    Attributes:
        stream_id: The stream of the earlier command, or the first one that it changed.
        command_id: The id of both.
    """

    def __init__(self, stream_id: str, command_id: str) -> None:
        super().__init__(
            f"command id {shown(command_id)} belongs to another command, which has changed {stream_id!r}: use a new id "
            "for each command. If this is the same command again, pass the same fingerprint= as then"
        )
        self.stream_id = stream_id
        self.command_id = command_id


class OutcomeUnknownError(PerdureError):
    """The connection failed during an append: it may or may not have been written.

    Repeating the append with the same event ids is safe: the store writes it once and returns the first result.
    `event_ids` is empty if the caller's own transaction had no appends: then check whether its writes are there.
    """

    def __init__(self, event_ids: Sequence[UUID]) -> None:
        super().__init__(
            f"it is unknown whether the append was written ({shown_ids(event_ids)}): "
            "repeat it with the same event ids, which never writes twice"
            if event_ids
            else "it is unknown whether the transaction was committed: check whether its writes are there"
        )
        self.event_ids = tuple(event_ids)


class StoreOverloadedError(PerdureError):
    """A queue stayed full, a stream stayed locked, a queued command waited, or no connection was free, for too long.

    Nothing was written or read.
    """

    is_transient = True

    def __init__(
        self, reason: str, timeout: float, outcome: str = "nothing was written: slow down, or try again later"
    ) -> None:
        super().__init__(f"{reason} for {timeout:g} s and {outcome}")
        self.reason = reason
        self.timeout = timeout
