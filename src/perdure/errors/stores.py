"""The store: settings, connections and transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from perdure.errors.formats import shown
from perdure.errors.roots import PerdureError

_TRANSIENT: Final = frozenset({"25P04", "40001", "40P01", "55P03", "57014", "57P05"})
"""SQLSTATEs: transaction_timeout, serialization_failure (a standby's recovery conflicts), deadlock_detected,
lock_not_available, query_canceled (statement_timeout), idle_session_timeout."""


class ConfigurationError(PerdureError, ValueError):
    """A setting is missing or invalid."""


class MissingExtraError(PerdureError, ImportError):
    """The packages of an optional part aren't installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs an extra: pip install 'perdure[{extra}]'")
        self.extra = extra


class StoreUnavailableError(PerdureError):
    """The database can't be reached, or lacks what it needs: disk, memory, connections.

    If a call that writes raises it, nothing was written. What was acknowledged before stays: `wait_for` may raise it,
    and then the saved events are in the log, but whether the read model shows them isn't known.

    `is_away` is True if it can't be reached. The store logs that itself: once, and again when the database is back.
    """

    is_away: bool = False

    is_transient = True


class ServersUnavailableError(StoreUnavailableError):
    """No server that the URL names can be used. `failures` has the reason for each. Nothing was written."""

    def __init__(self, failures: Mapping[str, str]) -> None:
        each = "; ".join(f"{server}: {reason}" for server, reason in failures.items())
        super().__init__(
            f"no server of the database can be used ({each}): start one, promote a standby, or correct the URL"
        )
        self.failures = dict(failures)


class AuthenticationError(StoreUnavailableError):
    """The database refused the user or the password."""

    is_transient = False


class DatabaseError(PerdureError):
    """The database refused a statement for a reason without its own class. `sqlstate` is PostgreSQL's code.

    It is transient if a time-out, a lock or a conflict with recovery on a standby ended the statement.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(f"{message} (SQLSTATE {sqlstate or 'unknown'})")
        self.sqlstate = sqlstate
        self.is_transient = sqlstate in _TRANSIENT


class StoreClosedError(PerdureError):
    """The store is closed, or was never opened. Nothing was written."""

    def __init__(self, reason: str = "the store is closed") -> None:
        super().__init__(f"{reason}: use it inside 'async with perdure.connect() as store'")
        self.reason = reason


class WrongContextError(PerdureError, RuntimeError):
    """The store was opened in another event loop, or before a fork. Open one store per event loop and process.

    Also raised if an application is used outside its `connect`, or is connected already; and if `connect` is awaited or
    used in a plain ``with``: write ``async with``. The function of `execute_all` may not call what writes by itself.
    """


class ServiceInterruptedError(PerdureError):
    """Code in a background task of a service raised KeyboardInterrupt or SystemExit, so the service has stopped.

    `__cause__` is that exception.
    """

    def __init__(self, owner: str, error: BaseException) -> None:
        super().__init__(f"{owner} was stopped by {shown(error)}: start the process again")
        self.owner = owner


class BackgroundTaskError(PerdureError):
    """A background task of a store or a projection service has failed. `perdure.health` reports it.

    The log record with the traceback is by the logger ``perdure.tasks``.

    Attributes:
        owner: What the task belongs to, in words.
        task: The name of the task.
        error_type: The class of the error that ended it last.
        seconds: For how long it has failed.
        is_final: Whether it won't be started again.
    """

    def __init__(self, owner: str, task: str, error_type: str, seconds: float, *, is_final: bool) -> None:
        cure = (
            "it won't be started again: restart the process"
            if is_final
            else "the log of perdure.tasks has the traceback, and says whether it is started again"
        )
        super().__init__(f"{owner}: {task!r} has failed for {seconds:.0f} s, by {error_type}; {cure}")
        self.owner = owner
        self.task = task
        self.error_type = error_type
        self.seconds = seconds
        self.is_final = is_final


class TransactionError(PerdureError):
    """The caller's transaction can't be used for appends, or wasn't committed. See `EventStore.transaction`."""


class TransactionEndedError(TransactionError):
    """A statement inside the block of the caller's transaction ended it, so the block doesn't report a commit.

    The statement itself decided whether earlier changes were committed, rolled back or prepared.

    Attributes:
        event_ids: The ids of the events appended in the transaction.
        written: The ids that are in the log; None if that wasn't checked.
    """

    def __init__(self, event_ids: Sequence[UUID], written: Sequence[UUID] | None) -> None:
        found = (
            f", and {len(written)} of the {len(event_ids)} events appended in it are in the log"
            if event_ids and written is not None
            else ""
        )
        super().__init__(
            "the transaction was ended inside its block, by COMMIT, ROLLBACK, PREPARE TRANSACTION or RESET ALL"
            f"{found}: let the block end it; to roll back a part, use a savepoint (tx.savepoint())"
        )
        self.event_ids = tuple(event_ids)
        self.written = None if written is None else tuple(written)


class DeadlockError(TransactionError):
    """PostgreSQL rolled back this transaction to end a deadlock. It wrote nothing. Run it again."""

    is_transient = True


class UnsupportedOperationError(PerdureError):
    """This store doesn't support the operation."""


class ReadOnlyStoreError(UnsupportedOperationError):
    """The store was opened read-only. Nothing was sent to the database."""

    def __init__(self) -> None:
        super().__init__(
            "the store was opened with read_only=True: write with a store that was opened on the primary without it"
        )


class LogDivergedError(PerdureError):
    """A checkpoint doesn't match the log: the database was restored, or failed over to a server with fewer events."""

    def __init__(self, name: str, global_position: int, expected: UUID | None, found: UUID | None) -> None:
        there = f"that position has event {found}" if found else "no event has that position"
        super().__init__(
            f"{name} has read up to position {global_position} (event {expected}), but {there}: "
            "this isn't the log that was read; rebuild what was derived from it (a projection: give it a new version)"
        )
        self.name = name
        self.global_position = global_position
        self.expected = expected
        self.found = found


class EmbeddedServerError(PerdureError):
    """The embedded PostgreSQL can't be started, joined or stopped."""

    is_transient = True
