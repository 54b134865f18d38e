"""From the driver's errors to ours. By SQLSTATE and class, never by text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from perdure.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseError,
    PerdureError,
    SchemaError,
    StoreUnavailableError,
)

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
"""What the driver raises when the server can't be reached, or went away, or is a standby now."""

_OUTDATED = (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError)


def translated(error: BaseException) -> PerdureError | None:
    """The error of ours that stands for one of the driver's; None for any other exception."""
    match error:
        case PerdureError():
            return None
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return AuthenticationError(f"the database refused the user or the password: {error}; check the URL")
        case asyncpg.InvalidCatalogNameError():
            return ConfigurationError(f"{error}: create the database, or name another in the URL")
        case _ if isinstance(error, CONNECTION_LOST):
            reason = str(error) or type(error).__name__
            return StoreUnavailableError(f"the database can't be reached: {reason}; is the server running?")
        case _ if isinstance(error, _OUTDATED):
            return SchemaError(f"the schema isn't as this version of Perdure made it: {error}; check its migrations")
        case asyncpg.InsufficientPrivilegeError():
            return ConfigurationError(f"the database's user lacks a right: {error}")
        case asyncpg.PostgresError():
            return DatabaseError(str(error), error.sqlstate or "")
        case _:
            return None


@contextmanager
def translated_errors() -> Iterator[None]:
    """Let errors of ours leave the block instead of the driver's."""
    try:
        yield
    except Exception as error:
        ours = translated(error)
        if ours is None:
            raise
        raise ours from error
