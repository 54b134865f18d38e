"""Appends: conflicts, reused event ids, unknown outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal, NamedTuple
from uuid import UUID

from perdure.errors.formats import shown, shown_ids
from perdure.errors.roots import PerdureError


class ConflictError(PerdureError):
    """What was decided no longer fits what is stored, because another writer was faster. Nothing was written.

    Decide again on fresh state. The root of all conflicts.
    """


class OptimisticConcurrencyError(ConflictError):
    """The stream isn't at the expected version: another writer appended first. Nothing was written.

    `Repository.execute`, `Repository.save_with_retry` and `execute_all` load the aggregate and decide again. They raise
    this error when the time or the attempts of their `RetryConfig` are used up.

    Attributes:
        stream_id: the stream.
        expected_version: the version that it should have had.
        actual_version: the version that it has.
        attempts: how many attempts were made, all with a conflict; None if this call doesn't try again.
        seconds: how long that took.
    """

    def __init__(
        self,
        stream_id: str,
        expected_version: int | Enum,
        actual_version: int,
        attempts: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        expected = expected_version.name if isinstance(expected_version, Enum) else expected_version
        found = f"stream {stream_id!r} is at version {actual_version}, but {expected} was expected"
        if attempts is None:
            text = f"{found}: another writer appended first, so read the stream again, decide again, and append that"
        else:
            times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            text = (
                f"gave up after {times} in {seconds:.2f} s, because other writers were faster each time ({found}): "
                "try again later, allow more time with RetryConfig(max_seconds=...), or let fewer processes change it"
            )
        super().__init__(text)
        self.stream_id = stream_id
        self.expected_version = expected_version
        self.actual_version = actual_version
        self.attempts = attempts
        self.seconds = seconds
        self.is_transient = attempts is not None  # the same call decides again

    def given_up(self, attempts: int, seconds: float) -> OptimisticConcurrencyError:
        """Return the error of a caller that doesn't try again, after so many attempts in so many seconds."""
        return OptimisticConcurrencyError(
            self.stream_id, self.expected_version, self.actual_version, attempts, seconds
        ).with_traceback(self.__traceback__)


class StaleVersionError(OptimisticConcurrencyError):
    """`execute` was given the version that its caller has seen, and the aggregate has another one. Nothing was written.

    It is never tried again: the caller has to see the present state first.
    """

    def __init__(self, stream_id: str, expected_version: int | Enum, actual_version: int) -> None:
        super().__init__(stream_id, expected_version, actual_version)
        is_at = f"{stream_id!r} is at version {actual_version}"
        if isinstance(expected_version, Enum):
            seen = f"{is_at}, but the caller expects {expected_version.name}"
        elif expected_version > actual_version:
            seen = f"{is_at}, and has never been at {expected_version}, which the caller says it has seen"
        else:
            seen = f"{is_at}, but the caller has seen {expected_version}"
        self.args = (f"{seen}: show the present state, and ask again",)


class AggregateExistsError(OptimisticConcurrencyError):
    """An aggregate that was made, not loaded, can't be saved, because its stream exists already. Nothing was written.

    It was decided without that history, so it is never tried again.
    """

    def __init__(self, stream_id: str, actual_version: int, class_name: str) -> None:
        super().__init__(stream_id, 0, actual_version)
        text = f"there is a stream {stream_id!r} already; you made a new {class_name}"
        self.args = (f"{text}: use execute, or load_or_new, which load it first",)
        self.class_name = class_name


class HistoryRolledBackError(OptimisticConcurrencyError):
    """An aggregate was loaded in a transaction, from events that aren't in its stream. Nothing was written.

    The transaction was rolled back, or hasn't been committed yet. Load the aggregate again.
    """

    def __init__(self, stream_id: str, expected_version: int, actual_version: int) -> None:
        super().__init__(stream_id, expected_version, actual_version)
        text = f"{stream_id!r} was loaded in a transaction, and its event at version {expected_version} isn't stored"
        self.args = (f"{text}: the transaction was rolled back, or isn't committed yet: load the aggregate again",)


class EventDifference(NamedTuple):
    """How an event of an append differs from the event that is stored under its id.

    Attributes:
        event_id: The id of both.
        event_type: The type of the event in the append.
        stored_type: The type of the stored event.
        reason: ``"type"``: they have different types. ``"content"``: their contents differ. ``"unreadable"``: this code
            can't compare them, because it can't read the stored event. The error's ``__cause__`` says why.
    """

    event_id: UUID
    event_type: str
    stored_type: str
    reason: Literal["type", "content", "unreadable"]

    def __str__(self) -> str:
        if self.reason == "type":
            return f"event {self.event_id} is stored as {self.stored_type!r}, but is {self.event_type!r} here"
        if self.reason == "content":
            both = repr(self.event_type)
            if self.event_type != self.stored_type:
                both += f", stored as {self.stored_type!r},"
            return f"event {self.event_id} of type {both} is stored with another content"
        return f"event {self.event_id} is stored as {self.stored_type!r}, but this code can't compare them"


class EventIdReuseError(PerdureError):
    """An append contains event ids under which other events are stored already. Nothing was written.

    A repeat with the same ids can't succeed. No value of a payload is in the message.

    Attributes:
        stream_id: The stream of the append, or the first of its streams.
        event_ids: The ids of all events of the append.
        difference: Which event differs, if the ids are stored in the place of the append. None: they are stored in
            another stream, in another order, or only some of them are stored.
    """

    def __init__(self, stream_id: str, event_ids: Sequence[UUID], difference: EventDifference | None = None) -> None:
        super().__init__(
            f"an append to {stream_id!r} reuses event ids of another append ({shown_ids(event_ids)}): "
            "use a new id for each new event, and repeat events only as they follow each other in their stream"
            if difference is None
            else f"an append to {stream_id!r} has another event under a stored id: {difference}: "
            "use a new id for each new event, and repeat an append with the same events"
        )
        self.stream_id = stream_id
        self.event_ids = tuple(event_ids)
        self.difference = difference


class CommandIdReuseError(PerdureError):
    """A command has the id of an earlier command, but another fingerprint. Nothing was written.

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
    """A queue stayed full, a stream stayed locked, or no connection was free, for too long.

    Nothing was written or read.
    """

    is_transient = True

    def __init__(
        self, reason: str, timeout: float, outcome: str = "nothing was written: slow down, or try again later"
    ) -> None:
        super().__init__(f"{reason} for {timeout:g} s and {outcome}")
        self.reason = reason
        self.timeout = timeout
