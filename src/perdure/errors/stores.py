"""The store as a whole: settings, connection, schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from perdure.errors.formats import shown
from perdure.errors.roots import PerdureError

_TRANSIENT: Final = frozenset({"25P04", "40001", "40P01", "55P03", "57014", "57P05"})
"""SQLSTATEs: transaction_timeout, serialization_failure (a standby's recovery conflicts), deadlock_detected,
lock_not_available, query_canceled (statement_timeout), idle_session_timeout."""


class ConfigurationError(PerdureError, ValueError):
    """A setting is missing or can't be used."""


class MissingExtraError(PerdureError, ImportError):
    """An optional part isn't installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs an extra: pip install 'perdure[{extra}]'")
        self.extra = extra


class StoreUnavailableError(PerdureError):
    """The database can't be reached, or lacks what it needs: disk, memory, connections. Nothing was written.

    `is_away` says that it can't be reached, which the store logs by itself: once, and once more when it is back.
    """

    is_away: bool = False

    is_transient = True


class ServersUnavailableError(StoreUnavailableError):
    """None of the servers that the URL names can be used. `failures` says of each why. Nothing was written."""

    def __init__(self, failures: Mapping[str, str]) -> None:
        each = "; ".join(f"{server}: {reason}" for server, reason in failures.items())
        super().__init__(
            f"none of the database's servers can be used ({each}): start one, promote a standby, or correct the URL"
        )
        self.failures = dict(failures)


class AuthenticationError(StoreUnavailableError):
    """The database refused the user or the password."""

    is_transient = False


class DatabaseError(PerdureError):
    """The database refused a statement, for a reason that has no class of its own here. `sqlstate` is PostgreSQL's.

    It is transient where a time-out, a lock or a conflict with recovery on a standby cut the statement short.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(f"{message} (SQLSTATE {sqlstate or 'unknown'})")
        self.sqlstate = sqlstate
        self.is_transient = sqlstate in _TRANSIENT


class StoreClosedError(PerdureError):
    """The store isn't open: it was closed, or never opened. Nothing was written."""

    def __init__(self, reason: str = "the store is closed") -> None:
        super().__init__(f"{reason}: use it inside 'async with perdure.connect() as store'")
        self.reason = reason


class WrongContextError(PerdureError, RuntimeError):
    """The store was opened in another event loop, or before a fork. Open one store per event loop and process."""


class ServiceInterruptedError(PerdureError):
    """KeyboardInterrupt or SystemExit left code that a service runs in the background, so the service has stopped.

    `__cause__` is what it was.
    """

    def __init__(self, owner: str, error: BaseException) -> None:
        super().__init__(f"{owner} was stopped by {shown(error)}: start the process again")
        self.owner = owner


class TransactionError(PerdureError):
    """The caller's transaction can't be used for appending, or wasn't committed. See `EventStore.transaction`."""


class TransactionEndedError(TransactionError):
    """A statement inside the block of the caller's transaction has ended it. It isn't reported as committed.

    What was done before that statement is committed, lost or prepared, as the statement said.

    Attributes:
        event_ids: those of the events that were appended in it.
        written: those of them that are in the log; None where that wasn't looked up.
    """

    def __init__(self, event_ids: Sequence[UUID], written: Sequence[UUID] | None) -> None:
        found = (
            f", and {len(written)} of the {len(event_ids)} events appended in it are in the log"
            if event_ids and written is not None
            else ""
        )
        super().__init__(
            "the transaction was ended inside its block, by COMMIT, ROLLBACK, PREPARE TRANSACTION or RESET ALL"
            f"{found}: leave its end to the block; for a part of it, use a savepoint (tx.savepoint())"
        )
        self.event_ids = tuple(event_ids)
        self.written = None if written is None else tuple(written)


class DeadlockError(TransactionError):
    """PostgreSQL has rolled back this transaction to end a deadlock. Nothing of it was written: run it again."""

    is_transient = True


class UnsupportedOperationError(PerdureError):
    """This store can't do what was asked for."""


class ReadOnlyStoreError(UnsupportedOperationError):
    """The store was opened to be read only. Nothing was sent."""

    def __init__(self) -> None:
        super().__init__(
            "the store was opened with read_only=True: write by one that was opened on the primary without it"
        )


class SchemaError(PerdureError):
    """The store's schema in the database doesn't fit this version of Perdure."""


class SchemaOutdatedError(SchemaError):
    """Migrations are missing in the database. `missing` names them."""

    def __init__(self, schema: str, missing: Sequence[str], *, forbidden: str | None = None) -> None:
        what_to_do = (
            "open the store with migrate=True to apply them"
            if forbidden is None
            else f"the database's user may not apply them ({forbidden}): let the schema's owner do it"
        )
        super().__init__(f"schema {schema!r} lacks migrations ({', '.join(missing)}): {what_to_do}")
        self.schema = schema
        self.missing = tuple(missing)
        self.forbidden = forbidden


class LockHolder(NamedTuple):
    """A session of the database that others wait for. What it may not tell is None."""

    pid: int
    application_name: str
    user_name: str | None
    state: str | None
    """As in pg_stat_activity: active, idle in transaction ..."""
    transaction_age: float | None
    """Seconds since its transaction began."""
    query_age: float | None
    """Seconds since its last query began."""

    def __str__(self) -> str:
        state = f", {self.state}" if self.state else ""
        age = f", {self.query_age:.0f} s since its last query began" if self.query_age is not None else ""
        return f"pid {self.pid} ({self.application_name or 'unnamed'}{state}{age})"


class SchemaLockedError(SchemaError):
    """Others hold locks that a change of the schema needs.

    What a migration has done so far stays; applying again goes on from there.
    """

    is_transient = True

    def __init__(self, schema: str, waited: float, holders: Sequence[LockHolder]) -> None:
        names = ", ".join(map(str, holders)) or "a session that was gone before it could be named"
        super().__init__(
            f"schema {schema!r} can't be changed now: waited {waited:.1f} s for {names}; "
            "try again when it is done, or end it (pg_terminate_backend)"
        )
        self.schema = schema
        self.waited = waited
        self.holders = tuple(holders)


class NamespaceSharedError(SchemaError):
    """A schema is a copy of another one in the same database, and has the same number for its locks.

    Appends to one would hold back readers of the other. The copy isn't opened until it has a number of its own.
    """

    def __init__(self, schema: str, others: Sequence[str]) -> None:
        names = ", ".join(map(repr, others))
        super().__init__(
            f"schema {schema!r} has the number of schema {names} for its locks, as a copy has, so that appends to one "
            f"would hold back readers of the other: run 'perdure --schema {schema} db renumber', or call "
            f"perdure.schema.renumber(schema={schema!r})"
        )
        self.schema = schema
        self.others = tuple(others)


class SchemaUnknownError(SchemaError):
    """A schema isn't one that a release of Perdure made, and can't be upgraded. Nothing was written.

    `migrations` names the recorded migrations that no release has: a development version before 0.1 made the schema.
    It is empty when the table `migrations` isn't Perdure's at all.
    """

    def __init__(self, schema: str, migrations: Sequence[str] = ()) -> None:
        super().__init__(
            f"schema {schema!r} was made by a development version of Perdure before 0.1 (it records {migrations[0]}), "
            "and can't be upgraded: to keep its events, stay with the version that made it; otherwise drop the schema "
            "(of an embedded server, stop it and delete its folder, .perdure), or name another one"
            if migrations
            else f"schema {schema!r} has a table of migrations, but not as any release of Perdure made it: "
            "name another schema, or copy what it holds into a new one"
        )
        self.schema = schema
        self.migrations = tuple(migrations)


class SchemaTooNewError(SchemaError):
    """The schema in the database was made by a newer version of Perdure."""

    def __init__(self, schema: str, found: int, known: int) -> None:
        super().__init__(
            f"schema {schema!r} is at migration {found}, this version of Perdure knows {known}: upgrade Perdure"
        )
        self.schema = schema
        self.found = found
        self.known = known


class LogDivergedError(PerdureError):
    """A checkpoint doesn't match the log: the database was restored, or failed over to a server that had less."""

    def __init__(self, name: str, global_position: int, expected: UUID | None, found: UUID | None) -> None:
        there = f"event {found} stands there" if found else "no event stands there"
        super().__init__(
            f"{name} has read up to position {global_position} (event {expected}), but {there}: "
            "the log isn't the one that was read; build anew what was made of it (a projection: give it a new version)"
        )
        self.name = name
        self.global_position = global_position
        self.expected = expected
        self.found = found


class EmbeddedServerError(PerdureError):
    """The embedded PostgreSQL can't be started, joined or stopped."""

    is_transient = True
