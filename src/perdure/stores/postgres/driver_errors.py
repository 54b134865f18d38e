"""Translates the driver's errors to Perdure's: by SQLSTATE and class, never by text."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import asyncpg

from perdure.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseError,
    DeadlockError,
    PerdureError,
    SchemaError,
    StoreUnavailableError,
)
from perdure.errors.mask import masked_text


class UnconfirmedCommitError(ConnectionError):
    """The server has committed, but the synchronous standby hasn't confirmed it: a failover may undo the commit."""

    def __init__(self) -> None:
        super().__init__("the wait for a synchronous standby was cut short after the commit")


CONNECTION_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What the driver raises when the server can't be reached, has gone away, or is a standby now."""

_ENDINGS = ("FATAL", "PANIC")
"""Severities of errors with which the server ends the session, or itself."""

STANDBY_LAGS = "PD003"
DIVERGED = "PD005"
"""SQLSTATEs of the schema's own functions."""


_TRANSLATIONS: tuple[tuple[tuple[type[BaseException], ...], Callable[[str], PerdureError]], ...] = (
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        lambda reason: AuthenticationError(f"the database refused the user or the password: {reason}; check the URL"),
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        lambda reason: ConfigurationError(f"{reason}: create the database, or name another in the URL"),
    ),
    (
        (asyncpg.ClientConfigurationError,),
        lambda reason: ConfigurationError(f"the database's URL can't be used: {reason}"),
    ),
    (
        (UnconfirmedCommitError,),
        lambda reason: StoreUnavailableError(f"{reason}: is the standby running?"),
    ),
    (
        CONNECTION_LOST,
        lambda reason: StoreUnavailableError(f"the database can't be reached: {reason}; is the server running?"),
    ),
    (
        (asyncpg.InsufficientResourcesError, asyncpg.PostgresSystemError),
        lambda reason: StoreUnavailableError(f"the database can't work: {reason}; give it the resources that it lacks"),
    ),
    (
        (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError),
        lambda reason: SchemaError(
            f"{reason}: correct the statement if it is yours; else the schema isn't as this version of Perdure made "
            "it, so check migrations"
        ),
    ),
    (
        (asyncpg.DeadlockDetectedError,),
        lambda _: DeadlockError(
            "two transactions waited for each other's locks: PostgreSQL has rolled this one back, so it wrote nothing; "
            "run it again"
        ),
    ),
    (
        (asyncpg.InsufficientPrivilegeError,),
        lambda reason: ConfigurationError(f"the database's user lacks a right: {reason}"),
    ),
)


def is_connection_lost(error: BaseException) -> bool:
    """Return whether the connection is lost, so that the outcome of what was sent is unknown.

    The severity decides, whatever the SQLSTATE: a server that panics while it writes its log may have committed.
    """
    return isinstance(error, CONNECTION_LOST) or getattr(error, "severity_en", None) in _ENDINGS


def is_unconfirmed(message: asyncpg.PostgresLogMessage) -> bool:
    """Return whether a warning says that a commit wasn't confirmed by its synchronous standby.

    Its SQLSTATE is that of all warnings, and its text is translated. Only the server function that sends it is unique.
    """
    return bool(message.as_dict().get("server_source_function") == "SyncRepWaitForLSN")


def translated(error: BaseException) -> PerdureError | None:
    """Return the Perdure error for an error of the driver; None for any other exception."""
    reason = masked_text(str(error)) or type(error).__name__
    for classes, translate in _TRANSLATIONS:
        if isinstance(error, classes):
            return translate(reason)
    if isinstance(error, asyncpg.PostgresError):
        if error.sqlstate == STANDBY_LAGS:
            return StoreUnavailableError(f"{reason}: try again in a moment")
        if is_connection_lost(error):
            return StoreUnavailableError(f"the database ended the session: {reason}; is the server running?")
        # Without the detail, which may quote the row: errors end up in logs.
        return DatabaseError(masked_text(str(error.args[0])) if error.args else reason, error.sqlstate or "")
    return None


@contextmanager
def translated_errors() -> Generator[None]:
    """Raise Perdure errors from the block instead of the driver's."""
    try:
        yield
    except Exception as error:
        translation = translated(error)
        if translation is None:
            raise
        raise translation from error


@contextmanager
def confirmed(connection: Any) -> Generator[None]:
    """Raise a CONNECTION_LOST error if the commit inside the block may or may not have happened.

    If its synchronous standby didn't confirm the commit, the error is UnconfirmedCommitError.
    """
    warnings: list[asyncpg.PostgresLogMessage] = []

    def note(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if is_unconfirmed(message):
            warnings.append(message)

    connection.add_log_listener(note)
    try:
        yield
    except asyncpg.PostgresError as error:
        if is_connection_lost(error) and not isinstance(error, CONNECTION_LOST):
            raise ConnectionError(f"the server ended the session: {error}") from error
        raise
    finally:
        with suppress(asyncpg.InterfaceError):  # a lost connection has returned to the pool by itself
            connection.remove_log_listener(note)
    if warnings:
        raise UnconfirmedCommitError
